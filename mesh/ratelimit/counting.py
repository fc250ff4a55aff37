"""The decision: is there room for a request under all of its limits, and then take it.

The strategy is the sliding window counter, as the library ``limits`` has it: the count of the
current window, plus that of the one before weighted by the share of it that the last full
window's length still covers.  Why this one:

* A *fixed window* lets twice the limit pass around its end, and the library's counts what it
  refuses as well.
* A *moving window* is exact, but keeps a time for every unit that was taken: a million of them
  for one counter of a million an hour.
* The *sliding counter* is two numbers, one atomic step in Redis, and takes nothing when it
  refuses.  No window passes more than its limit; across the border of two windows the estimate
  is off only as far as the earlier one was not evenly used.

A request that one descriptor refuses takes nothing from the others: a caller who is over the
limit of one route keeps what he has on the rest.  So all are looked at first, and then taken,
the scarcest first.  In memory nothing comes between looking and taking.  In Redis another
request may: if it takes the last of a limit then, this one is refused and what it took of
scarcer limits stays taken.  The error is always on the side of refusing; giving back could let
more than the limit pass when a window ends in between.

What is refused is not counted, so a cost that is only known afterwards, such as the size of a
response, is lost where it exceeds what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Protocol

from mesh.ratelimit.requests import Hit

State = tuple[int, float, int, float]
"""Count and seconds left of the previous window, then of the current one.

A window is kept for its own length and as long again, for which it is the previous one.
"""


class Windows(Protocol):
    """What the library's storages do for this strategy."""

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Add ``amount`` if the weighted count stays within ``limit``, in one atomic step."""
        ...

    async def get_sliding_window(self, key: str, expiry: int) -> State:
        """Return what is counted in windows of ``expiry`` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit says: room or none, and how much is left.

    ``reset`` is in seconds: while something is left, until the window ends; else until there is
    something again.
    """

    allowed: bool
    remaining: int
    reset: float


class Limiter:
    """Decides over the counters of ``windows``."""

    def __init__(self, windows: Windows) -> None:
        """Count there."""
        self._windows = windows

    async def decide(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Take all of ``hits`` if each has room, else none; tell about each, in order."""
        merged = _merged(hits)
        wanted = list(merged.values())
        if len(wanted) == 1 and wanted[0].cost:
            # One limit is decided and taken in a single atomic step.
            refused = await self._take(wanted)
            seen = await self._look(wanted)
        else:
            seen = await self._look(wanted)
            refused = {hit.key for hit in wanted if seen[hit.key].remaining < max(1, hit.cost)}
            if not refused and any(hit.cost for hit in wanted):
                scarcest_first = sorted(wanted, key=lambda hit: seen[hit.key].remaining - hit.cost)
                refused = await self._take(scarcest_first)
                seen = await self._look(wanted)
        return [replace(seen[hit.key], allowed=hit.key not in refused) for hit in hits]

    async def _take(self, wanted: Sequence[Hit]) -> set[str]:
        for hit in wanted:
            if hit.cost and not await self._windows.acquire_sliding_window_entry(
                hit.key, hit.limit, hit.window, hit.cost
            ):
                return {hit.key}
        return set()

    async def _look(self, wanted: Sequence[Hit]) -> Mapping[str, Verdict]:
        # One after another: in memory, a request that waited for nothing was alone.
        return {
            hit.key: judge(hit, await self._windows.get_sliding_window(hit.key, hit.window))
            for hit in wanted
        }


def judge(hit: Hit, state: State) -> Verdict:
    """Return what the limit of ``hit`` says before anything is taken."""
    previous, previous_left, current, current_left = state
    window, limit = hit.window, hit.limit
    remaining = max(0, limit - current - floor(previous * previous_left / window))
    # Where nothing is counted yet, the window begins with the first hit.
    left = current_left - window if current_left else float(window)
    if remaining or not current or current == limit:
        reset = left
    elif current < limit:
        # The previous window fades while this one lasts.
        reset = previous_left - window * (limit - current) / previous
    else:
        # More than a limit that was lowered since: this window must fade in its turn.
        reset = left + window * (1 - limit / current)
    return Verdict(bool(remaining), remaining, max(0.0, reset))


def _merged(hits: Sequence[Hit]) -> dict[str, Hit]:
    """Let descriptors that share a counter ask it once, for the sum, under the lowest limit."""
    merged: dict[str, Hit] = {}
    for hit in hits:
        other = merged.get(hit.key)
        merged[hit.key] = (
            hit
            if other is None
            else replace(hit, limit=min(hit.limit, other.limit), cost=hit.cost + other.cost)
        )
    return merged
