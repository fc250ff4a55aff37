"""Applying the table under guard, and removing it.

The order matters: the guard stands before anything is changed; the table is put in place in one
transaction; then it is proven, or confirmed by the person at the terminal, that the operator can
come back.  Until the guard hears that, it will put back what was there, and it does so at once if
whoever applies the table dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh.capture import guard
from mesh.capture.control import Control
from mesh.capture.errors import CaptureError, RolledBackError
from mesh.capture.nft import Nft
from mesh.capture.plan import Plan
from mesh.capture.table import removal, replacement

WITHIN: Final = 30.0
"""Seconds in which the new table must be confirmed."""
RUN: Final = Path("/run/mesh-capture")
"""The lock, and where the guard finds what it needs."""
_SYSTEMD: Final = Path("/run/systemd/system")
"""Where systemd is what runs this host (sd_booted(3))."""
_ROUNDS: Final = 2
_PAUSE: Final = 1.0
_START: Final = 15.0
_STEP: Final = 0.02
_ANSWER: Final = 60.0

_STATES: Final = {
    guard.RESTORED: "what was there before is back",
    guard.REMOVED: "what was there before could not be put back, and nothing is captured",
}

Confirm = Callable[[float], bool]
"""Asks the person at the terminal, for so many seconds, whether the new table is to stay."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The table that is loaded and the one that is planned, as nft writes them; empty for none."""

    loaded: str
    planned: str

    @property
    def changes(self) -> bool:
        """Whether applying the plan changes anything."""
        return self.loaded != self.planned


@contextlib.contextmanager
def alone(directory: Path = RUN) -> Iterator[None]:
    """Wait for whoever else changes or reads the table, and keep others waiting.

    Raises:
        CaptureError: the directory for it cannot be made.

    """
    descriptor = _locked(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(directory: Path) -> int:
    """Return a descriptor that holds the lock."""
    while True:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The directory is the lock: no file is left of it.
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Whoever held it removed it meanwhile.
            continue
        except OSError as error:
            raise CaptureError(
                f"{directory} cannot be written: {error.strerror}", remedy="run it as root"
            ) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), directory.stat()):
                return descriptor
        os.close(descriptor)


def difference(nft: Nft, plan: Plan) -> Difference:
    """Compare what is loaded with what is planned; the kernel has taken the plan by then.

    Raises:
        CaptureError: it would be refused.

    """
    nft.load(replacement(plan), check=True)
    return Difference(nft.listed(), nft.as_listed(plan))


def load(nft: Nft, plan: Plan) -> None:
    """Put the table in place and ask nobody, as at boot.

    Raises:
        CaptureError: it is refused; nothing was changed.

    """
    nft.load(replacement(plan))


def apply(
    nft: Nft,
    plan: Plan,
    control: Control,
    *,
    confirm: Confirm | None = None,
    within: float = WITHIN,
    directory: Path = RUN,
) -> None:
    """Put the table in place, and take it back unless the operator can come back.

    Args:
        nft: loads it.
        plan: what is captured.
        control: what must go on working.
        confirm: asks the person at the terminal; without it, ``control`` is the proof.
        within: seconds for all of that.
        directory: where the guard's files are.

    Raises:
        RolledBackError: it was taken back.
        CaptureError: it was refused; nothing was changed.

    """
    control.refuse_captured(plan)
    if reason := control.broken():
        raise CaptureError(
            f"nothing was applied: {reason}, even before", remedy="mend that, or do not guard it"
        )
    earlier = removal() + nft.listed()
    with contextlib.closing(_guarded(nft, earlier, within, directory)) as connection:
        ends = time.monotonic() + within
        # If we are killed, the guard hears of it when nft has ended too, and has the last word.
        nft.load(replacement(plan), held=(connection.fileno(),))
        reason = _unproven(control, confirm, ends)
        done = _told(connection, guard.RESTORE if reason else guard.KEEP)
    if done == guard.KEPT:
        return
    if done not in _STATES:
        # The guard is gone, and nobody else would do it.
        reason = reason or "the guard is gone"
        done = guard.restore(nft, earlier)
    raise RolledBackError(
        f"the table was taken back: {reason or 'the guard heard too late that it may stay'}; "
        f"{_STATES[done]}",
        remedy="see what `mesh capture apply --dry-run` shows, and exclude what must stay",
    )


def remove(nft: Nft, directory: Path = RUN) -> bool:
    """Remove the table, and what else there is of capture; tell whether there was a table.

    Raises:
        CaptureError: it cannot be removed.

    """
    was_there = bool(nft.listed())
    if was_there:
        nft.load(removal())
    with contextlib.suppress(OSError):
        # A guard may still stand, and needs it.
        directory.rmdir()
    return was_there


def _unproven(control: Control, confirm: Confirm | None, ends: float) -> str:
    """Return why the table may not stay; empty if it may."""
    if confirm is not None:
        return "" if confirm(max(ends - time.monotonic(), 0.0)) else "it was not confirmed"
    for number in range(_ROUNDS):
        # A connection that broke shows it when something was sent, and not answered.
        if number:
            time.sleep(_PAUSE)
        if reason := control.broken():
            return reason
    return "" if time.monotonic() < ends else "it took too long to prove"


def _told(connection: socket.socket, word: bytes) -> bytes:
    """Tell the guard, and return what it did; nothing if it is gone."""
    connection.settimeout(_ANSWER)
    with contextlib.suppress(OSError):
        # Too late, it is gone; what it did it said before.
        connection.sendall(word)
    try:
        return connection.recv(max(map(len, _STATES)))
    except OSError:
        return b""


def _guarded(nft: Nft, restore: str, within: float, directory: Path) -> socket.socket:
    """Start the guard, and return the connection to it once it is ready."""
    place = directory / f"{os.getpid()}.sock"
    script = directory / f"{os.getpid()}.nft"
    place.unlink(missing_ok=True)
    script.write_text(restore, encoding="utf-8")
    # Nothing of the directory in which root happens to be is to be imported.
    words = [sys.executable, "-P", "-m", "mesh.capture.guard", str(place), str(script), str(within)]
    try:
        _start([*words, *nft.command])
        return _connected(place)
    except CaptureError:
        script.unlink(missing_ok=True)
        raise


def _connected(place: Path) -> socket.socket:
    ends = time.monotonic() + _START
    while time.monotonic() < ends:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_START)
            connection.connect(str(place))
            if connection.recv(len(guard.READY)) == guard.READY:
                return connection
        except (FileNotFoundError, ConnectionError, TimeoutError):
            select.select([], [], [], _STEP)
        connection.close()
    raise CaptureError(
        f"nothing was applied: the guard did not start within {_START:.0f} s",
        remedy="see `journalctl -u 'mesh-capture-guard-*'`, or use --no-rollback",
    )


def _start(words: list[str]) -> None:
    """Start a process that outlives this session, even where logind ends what a session left."""
    unit = f"--unit=mesh-capture-guard-{os.getpid()}"
    if _SYSTEMD.is_dir() and _ran(["systemd-run", "--quiet", "--collect", unit, *words]):
        return
    if not _ran(["setsid", "--fork", *words]):
        raise CaptureError(
            "nothing was applied: there is no way to start the guard",
            remedy="install util-linux, which has setsid, or use --no-rollback",
        )


def _ran(words: list[str]) -> bool:
    try:
        ran = subprocess.run(  # noqa: S603 - all words are ours
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_START,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0
