"""Waiting for what comes about in its own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_PAUSE = 0.02

T = TypeVar("T")


async def until(what: str, ask: Callable[[], Awaitable[T | None]], *, patience: float = 15) -> T:
    """Ask again and again until something comes back, and return it.

    Pauses are as long as the asking: a command that is asked must not take what it waits for.
    """
    ends = time.monotonic() + patience
    while True:
        began = time.monotonic()
        found = await ask()
        if found is not None:
            return found
        now = time.monotonic()
        assert now < ends, f"not within {patience} s: {what}"
        await asyncio.sleep(max(_PAUSE, now - began))
