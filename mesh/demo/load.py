"""Steady traffic, every request counted.  Bounded in concurrency and by its owner's block."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp

from mesh.aio.tasks import Tasks

_PAUSE: Final = 0.005
"""Seconds between two requests of one caller."""
_LONGEST: Final = 120.0
"""Seconds after which callers stop by themselves, whatever happens."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def succeeded(self) -> int:
        """How many were answered with a 2xx."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.startswith("2"))

    @property
    def failed(self) -> int:
        """How many were not."""
        return self.sent - self.succeeded

    def __str__(self) -> str:
        """Tell it in a few words."""
        text = f"{self.sent} sent, {self.failed} failed"
        if self.failed:
            bad = {key: count for key, count in self.outcomes.items() if not key.startswith("2")}
            text += " (" + ", ".join(f"{key}: {count}" for key, count in sorted(bad.items())) + ")"
        return text


class Load:
    """Calls ``url`` from ``callers`` tasks for as long as the block lasts."""

    def __init__(self, url: str, *, callers: int = 4) -> None:
        """Prepare; nothing is sent before the block is entered."""
        self.tally = Tally()
        self._url = url
        self._callers = callers
        self._tasks = Tasks("load")
        self._stopping = asyncio.Event()
        self._progress = asyncio.Condition()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._tasks.__aenter__()
        for number in range(self._callers):
            self._running.append(self._tasks.spawn(f"caller {number}", self._call()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop after the requests under way have been answered."""
        self._stopping.set()
        if error is None:
            await asyncio.wait(self._running)
        await self._tasks.__aexit__(kind, error, traceback)

    async def reach(self, more: int) -> None:
        """Wait until ``more`` further requests have been answered, one way or the other."""
        goal = self.tally.sent + more
        async with self._progress:
            await self._progress.wait_for(lambda: self.tally.sent >= goal)

    async def _call(self) -> None:
        ends = asyncio.get_running_loop().time() + _LONGEST
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while not self._stopping.is_set() and asyncio.get_running_loop().time() < ends:
                outcome = await self._once(session)
                self.tally.sent += 1
                self.tally.outcomes[outcome] += 1
                async with self._progress:
                    self._progress.notify_all()
                await asyncio.sleep(_PAUSE)

    async def _once(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.get(self._url) as answer:
                await answer.read()
                return str(answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
