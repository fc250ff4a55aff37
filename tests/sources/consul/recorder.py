"""Keeps what a source emits, and waits for what should come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from mesh.world.changes import Change, InstancesChanged

C = TypeVar("C", bound=Change)


class Recorder:
    """Every change, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.changes: list[Change] = []
        self._arrived = asyncio.Event()

    def __call__(self, change: Change) -> None:
        """Take a change."""
        self.changes.append(change)
        self._arrived.set()

    def all(self, kind: type[C]) -> list[C]:
        """Return every change of ``kind``."""
        return [change for change in self.changes if isinstance(change, kind)]

    def last(self, kind: type[C]) -> C | None:
        """Return the newest change of ``kind``."""
        return next(iter(reversed(self.all(kind))), None)

    def instances(self, service: str) -> InstancesChanged | None:
        """Return the newest statement about ``service``."""
        found = [change for change in self.all(InstancesChanged) if change.service == service]
        return found[-1] if found else None

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds; it is looked at after every change, and now and then."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), 0.02)
                except TimeoutError:
                    continue
