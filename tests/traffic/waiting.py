"""Waiting for what comes about in its own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(what: str, ask: Callable[[], Awaitable[T | None]], *, patience: float = 15) -> T:
    """Ask again and again until something comes back, and return it."""
    ends = time.monotonic() + patience
    while True:
        found = await ask()
        if found is not None:
            return found
        assert time.monotonic() < ends, f"not within {patience} s: {what}"
        await asyncio.sleep(0.02)
