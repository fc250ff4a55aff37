"""Fairness on one thread: long queues are worked off in short turns of the event loop.

A storm of reconnecting proxies is a queue of handshakes of a millisecond each, a change that
concerns all of them a queue of pushes.  Done in one go either would hold up everything else, so
a :class:`Pacer` works for a few milliseconds, lets the loop look at its sockets, and goes on.
The first step of an idle pacer waits for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

TURN_SECONDS: Final = 0.008
"""How long one turn may take (one step is always made)."""


class Pacer:
    """A queue of short steps, run in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        turn: float = TURN_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Run steps on ``loop``."""
        self._loop = loop
        self._turn = turn
        self._clock = clock
        self._steps: deque[Callable[[], None]] = deque()
        self._scheduled: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return len(self._steps)

    def submit(self, step: Callable[[], None]) -> None:
        """Queue ``step``."""
        self._steps.append(step)
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._run)

    def close(self) -> None:
        """Forget all that waits."""
        self._steps.clear()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _run(self) -> None:
        self._scheduled = None
        deadline = self._clock() + self._turn
        try:
            while self._steps:
                self._steps.popleft()()
                if self._clock() >= deadline:
                    break
        finally:
            if self._steps and self._scheduled is None:
                self._scheduled = self._loop.call_soon(self._run)
