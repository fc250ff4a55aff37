"""Group commit: writes that arrive while the disk is busy share its next sync.

:meth:`Journal.append` takes the changes of one transaction and returns a future that is done
when they are on disk.  A thread of its own writes one batch at a time; a lone write goes at
once.  After every batch the journal tells what became durable, in the order of the writes,
and only then lets the writers answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from mesh.embedded.persistence import Persistence
from mesh.embedded.records import Record
from mesh.embedded.store import Changes
from mesh.embedded.tables import Key


@dataclass(slots=True)
class _Batch:
    changes: list[Changes] = field(default_factory=list)
    rows: dict[tuple[str, Key], Record | None] = field(default_factory=dict)
    writers: list[asyncio.Future[None]] = field(default_factory=list)


class Journal:
    """Carries changes to the disk in batches."""

    def __init__(
        self,
        persistence: Persistence,
        durable: Callable[[list[Changes]], None],
        lost: Callable[[], None],
    ) -> None:
        """``durable`` hears what is on disk, ``lost`` that unwritten changes never will be."""
        self._persistence = persistence
        self._durable = durable
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry-journal")
        self._waiting = _Batch()
        self._writing: _Batch | None = None

    def append(self, changes: Changes) -> asyncio.Future[None]:
        """Queue ``changes``; the future ends when they, and all before them, are on disk.

        A transaction without changes waits too: it may have found what an earlier one, not
        yet on disk, had written.
        """
        writer = self._loop.create_future()
        if not changes.rows and self._writing is None:
            writer.set_result(None)
            return writer
        batch = self._waiting
        if not changes.rows and not batch.rows and self._writing is not None:
            batch = self._writing
        batch.writers.append(writer)
        if changes.rows:
            batch.changes.append(changes)
            batch.rows.update(changes.rows)
            if self._writing is None:
                self._write()
        return writer

    async def close(self) -> None:
        """Write what is queued and close the file."""
        while self._writing is not None:
            done = self._loop.create_future()
            (self._waiting if self._waiting.rows else self._writing).writers.append(done)
            await asyncio.wait([done])
            if not done.cancelled():
                done.exception()
        await self._loop.run_in_executor(self._thread, self._persistence.close)
        self._thread.shutdown()

    def _write(self) -> None:
        batch, self._waiting = self._waiting, _Batch()
        self._writing = batch
        index = batch.changes[-1].index
        written = self._loop.run_in_executor(
            self._thread, self._persistence.write, batch.rows, index
        )
        written.add_done_callback(partial(self._written, batch))

    def _written(self, batch: _Batch, written: asyncio.Future[None]) -> None:
        self._writing = None
        error = written.exception()
        if error is not None:
            self._abandon(batch, error)
            return
        if self._waiting.rows:
            self._write()
        self._durable(batch.changes)
        for writer in batch.writers:
            if not writer.done():
                writer.set_result(None)

    def _abandon(self, batch: _Batch, error: BaseException) -> None:
        # What is queued was decided on top of what is lost, so it goes with it.
        queued, self._waiting = self._waiting, _Batch()
        self._lost()
        for writer in (*batch.writers, *queued.writers):
            if not writer.done():
                writer.set_exception(error)
