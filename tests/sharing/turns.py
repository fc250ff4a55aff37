"""Turns of the workers of one run: many tests beside each other, or one alone."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


class Turns:
    """One worker's.  They are locks of files, which end with whoever holds them, however he ends.

    Who waits to be alone stands in the door: nobody passes him, and so he waits for no more than
    the tests that are running.
    """

    def __init__(self, directory: Path) -> None:
        """Keep them below ``directory``, which is the same for all workers."""
        self._door = directory / "turns.door"
        self._place = directory / "turns.room"
        self._room: IO[bytes] | None = None

    def take(self, *, alone: bool) -> None:
        """Wait for a turn, beside others or ``alone``; one that was not left goes on."""
        if self._room is not None:
            return
        room = self._place.open("wb")
        with self._door.open("wb") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._room = room

    def leave(self) -> None:
        """End the turn."""
        room, self._room = self._room, None
        if room is not None:
            room.close()
