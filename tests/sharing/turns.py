"""Turns of the workers of one run: many tests beside each other, or one alone."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """Locks of files, which end with whoever holds them, however he ends."""

    def __init__(self, directory: Path) -> None:
        """Keep them below ``directory``, which is the same for all workers."""
        self._door = directory / "turns.door"
        self._room = directory / "turns.room"

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn, beside others or ``alone``, and have it for the block.

        Who waits to be alone stands in the door: nobody passes him, and so he waits for no more
        than the tests that are running.
        """
        with self._room.open("wb") as room:
            with self._door.open("wb") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
