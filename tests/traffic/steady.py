"""Steady traffic through a small estate, each answer held against what was asked for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp

from mesh.aio.tasks import Tasks
from tests.traffic.answers import within
from tests.traffic.small import SPLIT, Small
from tests.traffic.waiting import until

_LONGEST: Final = 90.0
_PAUSE: Final = 0.005
_STATES: Final = {"/": 200, "/split": 200, "/entry": 200, "/limited": 429, "/users": 403}
"""What the load calls, in turn, and how each is answered."""


def as_split(shares: Counter[str]) -> bool:
    """Whether the weights hold."""
    count = shares.total()
    return all(within(shares[name], count, share) for name, share in SPLIT.items())


@dataclass(slots=True)
class Load:
    """Calls everything in turn for as long as the block lasts; a few callers, with pauses."""

    small: Small
    paths: Mapping[str, int] = field(default_factory=lambda: _STATES)
    sent: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    """What was answered otherwise than it should be."""
    shares: Counter[str] = field(default_factory=Counter)
    """Who answered ``/split``."""
    _tasks: Tasks = field(default_factory=lambda: Tasks("load"))
    _running: list[asyncio.Task[None]] = field(default_factory=list)
    _stopping: bool = False

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._tasks.__aenter__()
        self._running = [self._tasks.spawn(f"caller {each}", self._call()) for each in range(3)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop after the calls under way."""
        self._stopping = True
        if error is None:
            await asyncio.wait(self._running)
        await self._tasks.__aexit__(kind, error, traceback)

    async def reach(self, more: int) -> None:
        """Wait for ``more`` further answers."""
        goal = self.sent + more

        async def ask() -> bool | None:
            return True if self.sent >= goal else None

        await until(f"{more} further calls are answered", ask, patience=_LONGEST)

    async def _call(self) -> None:
        ends = time.monotonic() + _LONGEST
        while not self._stopping and time.monotonic() < ends:
            for path, status in self.paths.items():
                try:
                    answer = await self.small.call(path)
                except aiohttp.ClientError as error:
                    self.wrong[f"{path}: {type(error).__name__}"] += 1
                    continue
                finally:
                    self.sent += 1
                if answer.status != status:
                    self.wrong[f"{path}: {answer.status}"] += 1
                elif path == "/split":
                    self.shares[answer.instance] += 1
                elif path == "/entry" and answer.json["path"] != "/rewritten":
                    self.wrong[f"{path}: not rewritten"] += 1
                await asyncio.sleep(_PAUSE)
