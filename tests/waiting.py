"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], bool | Awaitable[bool]], within: float = 15.0, *, what: str = ""
) -> None:
    """Return when ``condition`` holds; fail after ``within`` seconds."""
    try:
        async with asyncio.timeout(within):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"did not come to pass: {what or condition}") from None
