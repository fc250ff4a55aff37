"""A channel of one place: a slow reader sees the newest value and never a queue of old ones."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Keeps the newest value until one reader takes it; writing never waits."""

    def __init__(self) -> None:
        """Start with nothing to read."""
        self._place: deque[T] = deque(maxlen=1)
        self._arrived = asyncio.Event()

    def set(self, value: T) -> None:
        """Offer ``value``; it replaces one that was not taken yet."""
        self._place.append(value)
        self._arrived.set()

    async def next(self) -> T:
        """Take the newest value, waiting for one if the last was already taken."""
        while not self._place:
            await self._arrived.wait()
        self._arrived.clear()
        return self._place.pop()
