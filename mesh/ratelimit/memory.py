"""Counters in the process's own memory, bounded.

The library's own memory goes through all of its counters at each request to find those that
have expired, which a caller who sends ever new values can make arbitrarily slow.  Here each new
counter pays for looking at two old ones, so that the expired never outnumber the living for
long, and when the bound is reached in spite of that, new counters are refused rather than old
ones forgotten: forgetting would hand a flood of made-up values the right to reset real limits.
"""

from __future__ import annotations

from collections import OrderedDict
from math import floor
from typing import Final

from mesh.aio.clock import Clock
from mesh.ratelimit.counting import State
from mesh.ratelimit.errors import StoreUnavailableError

_SWEEP_EVERY: Final = 1.0
"""Seconds between two looks through everything while the memory is full."""
_HANDFUL: Final = 2
"""Counters that a new one has looked at."""


class _Counter:
    """The counts of the window ``index`` and of the one before it."""

    __slots__ = ("current", "expiry", "index", "previous")

    def __init__(self, expiry: int, index: int) -> None:
        self.expiry = expiry
        self.index = index
        self.previous = 0
        self.current = 0

    def turn(self, index: int) -> None:
        """Go on to the window ``index``."""
        passed = index - self.index
        if passed:
            self.previous = self.current if passed == 1 else 0
            self.current = 0
            self.index = index

    def is_over(self, now: float) -> bool:
        """Tell whether forgetting it changes nothing."""
        return now >= (self.index + 2) * self.expiry


class Memory:
    """Sliding windows in a bounded dictionary; what each method does is what the library's does.

    No method waits for anything, so what one request does comes between nothing of another's.
    Times are monotonic: windows begin with the process, and a corrected clock moves none.
    """

    def __init__(self, clock: Clock, max_counters: int) -> None:
        """Hold at most ``max_counters``."""
        self._clock = clock
        self._max = max_counters
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        self._swept = -_SWEEP_EVERY

    def __len__(self) -> int:
        """Return how many counters are held, expired ones included."""
        return len(self._counters)

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Add ``amount`` if the weighted count stays within ``limit``.

        Raises:
            StoreUnavailableError: there is no room for another counter.

        """
        previous, previous_left, current, _ = self._state(key, expiry)
        if current + floor(previous * previous_left / expiry) + amount > limit:
            return False
        counter = self._counters.get(key)
        if counter is None:
            counter = self._make(key, expiry)
        counter.current += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> State:
        """Return count and seconds left of the previous window, and of the current one."""
        return self._state(key, expiry)

    def _state(self, key: str, expiry: int) -> State:
        now = self._clock.monotonic()
        left = expiry - now % expiry
        counter = self._counters.get(key)
        if counter is None:
            return 0, 0.0, 0, left + expiry
        counter.turn(int(now // expiry))
        return counter.previous, left if counter.previous else 0.0, counter.current, left + expiry

    def _make(self, key: str, expiry: int) -> _Counter:
        now = self._clock.monotonic()
        for _ in range(min(_HANDFUL, len(self._counters))):
            oldest, counter = self._counters.popitem(last=False)
            if not counter.is_over(now):
                self._counters[oldest] = counter
        if len(self._counters) >= self._max:
            self._sweep(now)
        made = self._counters[key] = _Counter(expiry, int(now // expiry))
        return made

    def _sweep(self, now: float) -> None:
        if now - self._swept >= _SWEEP_EVERY:
            self._swept = now
            over = [key for key, counter in self._counters.items() if counter.is_over(now)]
            for key in over:
                del self._counters[key]
        if len(self._counters) >= self._max:
            raise StoreUnavailableError("full", f"memory is full: {self._max} counters are in use")
