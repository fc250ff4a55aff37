"""Supervised background tasks: each has a name and an owner, and none outlives the owner.

A daemon is a handful of loops.  Whoever opens the group owns them::

    async with Tasks("zone") as tasks:
        tasks.spawn("watch intentions", watch(), forever=True)
        await tasks.failed()

A task that raises, or that was to run forever and returned, is logged with its name, takes its
siblings down, and interrupts the owner, who leaves the block with :class:`TaskFailedError`.
Leaving the block for any reason cancels what still runs and waits for it to end.  This is the
only place that starts tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TaskFailedError(Exception):
    """A supervised task ended when it should not have; its own error is the cause."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the name of the task."""
        super().__init__(f"{name} {reason}")
        self.name = name


class Tasks:
    """A group of named tasks that end together, at the latest when their owner's block ends."""

    def __init__(self, name: str = "tasks") -> None:
        """Name the group; the name stands in the log and in front of each task's."""
        self.name = name
        self._running: set[asyncio.Task[Any]] = set()
        self._failure: TaskFailedError | None = None
        self._has_failed = asyncio.Event()
        self._owner: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._closing = False

    async def __aenter__(self) -> Self:
        """Make the current task the owner."""
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every task; raise the failure that interrupted the block, if one did."""
        # The owner's own cancellation, coming from outside, must stay a cancellation.
        still_cancelled = False
        owner = self._owner
        if self._interrupted and owner is not None and owner is asyncio.current_task():
            still_cancelled = owner.uncancel() > 0
        await self.close()
        if self._failure is None or still_cancelled:
            return
        if error is None or isinstance(error, asyncio.CancelledError):
            raise self._failure

    def spawn(
        self, name: str, coroutine: Coroutine[Any, Any, T], *, forever: bool = False
    ) -> asyncio.Task[T]:
        """Start ``coroutine`` as a task of this group.

        With ``forever`` a normal return is a failure too.  A task may be cancelled alone: that
        is never a failure.

        Raises:
            RuntimeError: the group is closing or has failed.

        """
        if self._closing or self._failure is not None:
            coroutine.close()
            msg = f"{self.name} is stopping; {name} cannot start"
            raise RuntimeError(msg)
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}: {name}")
        self._running.add(task)
        task.add_done_callback(lambda ended: self._ended(name, ended, forever=forever))
        return task

    async def failed(self) -> NoReturn:
        """Wait until a task fails and raise its failure; the owner may park here.

        Raises:
            TaskFailedError: with the task's own error as its cause.

        """
        await self._has_failed.wait()
        if self._failure is None:
            raise AssertionError  # the event is set only beside the failure
        raise self._failure

    async def close(self) -> None:
        """Cancel every task and wait until all have ended.  May be called again."""
        self._closing = True
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)
            # Done callbacks run in the loop's next turn.
            await asyncio.sleep(0)

    def _ended(self, name: str, task: asyncio.Task[Any], *, forever: bool) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None and (not forever or self._closing):
            return
        extra = {"group": self.name, "task": name}
        if self._failure is not None or self._closing:
            # Already on the way out: the first failure is the owner's, this one is for the log.
            logger.error("task failed while its group stopped", extra=extra, exc_info=error)
            return
        logger.error("task ended unexpectedly", extra=extra, exc_info=error)
        reason = f"failed: {error}" if error is not None else "returned, though it should run on"
        self._failure = TaskFailedError(name, reason)
        self._failure.__cause__ = error
        self._has_failed.set()
        for sibling in self._running:
            sibling.cancel()
        if self._owner is not None:
            self._interrupted = self._owner.cancel()
