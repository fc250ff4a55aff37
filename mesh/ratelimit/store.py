"""Where counters are: what the service needs of such a place, and the one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

from mesh.aio.clock import Clock
from mesh.ratelimit.counting import Limiter, Verdict
from mesh.ratelimit.memory import Memory
from mesh.ratelimit.requests import Hit

_FOREVER = 3_600.0


class Store(Protocol):
    """Decides over its own counters, and knows whether it can."""

    async def decide(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Take all of ``hits`` if each has room, else none.

        Raises:
            StoreUnavailableError: the counters cannot be asked now.

        """
        ...

    def reasons(self) -> Sequence[str]:
        """Return every reason why the counters cannot be asked; none means that they can."""
        ...

    async def keep(self) -> NoReturn:
        """Look after the place for as long as the service runs."""
        ...

    async def close(self) -> None:
        """Let go of the place."""
        ...


class MemoryStore:
    """Counters in this process."""

    def __init__(self, clock: Clock, max_counters: int) -> None:
        """Hold at most ``max_counters``."""
        self.memory = Memory(clock, max_counters)
        self._limiter = Limiter(self.memory)
        self._clock = clock

    async def decide(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Take all of ``hits`` if each has room, else none.

        Raises:
            StoreUnavailableError: there is no room for another counter.

        """
        return await self._limiter.decide(hits)

    def reasons(self) -> Sequence[str]:
        """Memory is always there."""
        return ()

    async def keep(self) -> NoReturn:
        """Do nothing: the memory tidies itself."""
        while True:
            await self._clock.sleep(_FOREVER)

    async def close(self) -> None:
        """Do nothing."""
