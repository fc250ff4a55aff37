"""Time as a collaborator, so that a test turns the hands instead of waiting.

:class:`SystemClock` is the real one.  :class:`ManualClock` stands still until told to advance;
it is here rather than among the tests because every room's tests need it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_START = datetime(2025, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the time is, and waiting for it to pass."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` have passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.fromtimestamp(time.time(), UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` have passed."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock whose hands only :meth:`advance` moves."""

    def __init__(self, start: datetime = _START) -> None:
        """Stand at ``start``; monotonic time starts at zero."""
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        """Return the start plus what was advanced."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return what was advanced so far."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the hands have been moved past ``seconds`` from now."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        due = asyncio.Event()
        sleeper = (self._elapsed + seconds, next(self._order), due)
        heapq.heappush(self._sleepers, sleeper)
        self._changed.set()
        try:
            await due.wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    async def sleeping(self, count: int = 1) -> None:
        """Wait until at least ``count`` sleepers wait on this clock."""
        while len(self._sleepers) < count:
            self._changed.clear()
            await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Move the hands on, waking each sleeper at its own moment and in order."""
        target = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            self._elapsed, _, due = heapq.heappop(self._sleepers)
            due.set()
            await self._settle()
        self._elapsed = target
        await self._settle()

    @staticmethod
    async def _settle() -> None:
        # Enough turns of the loop for the woken to act and to go to sleep again.
        for _ in range(10):
            await asyncio.sleep(0)
