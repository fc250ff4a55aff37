"""The steps of a join carried out, each of which can be taken back.

A step that fails takes those before it back, so that a host is as it was or as it should be.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from mesh.capture import applying
from mesh.capture.errors import CaptureError
from mesh.capture.nft import Nft
from mesh.vm import systemd
from mesh.vm.errors import VmError
from mesh.vm.host import found_file
from mesh.vm.layout import CAPTURE_UNIT, USER
from mesh.vm.steps import (
    CaptureFollows,
    Expect,
    MakeDirectory,
    MakeLink,
    MakeUser,
    PutAway,
    Remove,
    RemoveTable,
    Restart,
    Start,
    Step,
    Stop,
    Systemctl,
    WriteFile,
)

_AWAY: Final = ".put-away"

Undo = Callable[[], object]


class Changes:
    """Steps carried out so far, to be kept or taken back."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """``tell`` is told of each step."""
        self._tell = tell
        self._undo: list[Undo] = []
        self._again: list[Undo] = []
        self._away: list[Path] = []

    def apply(self, steps: Iterable[Step]) -> None:
        """Carry out steps, in order.

        Raises:
            VmError: one failed; it says which.

        """
        for step in steps:
            self._tell(str(step))
            try:
                self._apply(step)
            except OSError as error:
                raise VmError(f"{step} failed: {error}", "") from error

    def keep(self) -> None:
        """Let what was done stand."""
        for each in self._away:
            shutil.rmtree(each)
        self._undo.clear()
        self._again.clear()

    def take_back(self) -> tuple[str, ...]:
        """Undo everything, the last first; return what could not be undone.

        Units that ran before are started when all else is as it was, for they read it.
        """
        failed = [*_carried_out(self._undo)]
        with contextlib.suppress(VmError):  # a host without systemd has nothing to read again
            systemd.systemctl("daemon-reload")
        return (*failed, *_carried_out(self._again))

    def _apply(self, step: Step) -> None:
        match step:
            case MakeUser():
                systemd.run(*step.command)
                self._undo.append(remove_user)
            case MakeDirectory():
                step.path.mkdir(parents=True)
                self._undo.append(step.path.rmdir)
                _own(step.path, step.group, step.mode)
            case WriteFile():
                self._undo.append(_restorer(step.path))
                write(step.path, step.content, step.group, step.mode)
            case MakeLink():
                step.path.symlink_to(step.target)
                self._undo.append(step.path.unlink)
            case Remove():
                self._undo.append(_restorer(step.path))
                step.path.unlink()
            case PutAway():
                away = step.path.with_name(f".{step.path.name}{_AWAY}")
                # Not a rename: a directory of an image's lower layer has none.
                systemd.run("mv", "--no-target-directory", str(step.path), str(away))
                self._away.append(away)
                back = ("mv", "--no-target-directory", str(away), str(step.path))
                self._undo.append(partial(systemd.run, *back))
            case Expect():
                self._undo.append(partial(_remove_tree, step.path))
            case Start() | Restart() | Stop() | Systemctl() | CaptureFollows() | RemoveTable():
                self._call(step)

    def _call(
        self, step: Start | Restart | Stop | Systemctl | CaptureFollows | RemoveTable
    ) -> None:
        match step:
            case CaptureFollows():
                self._undo.append(partial(_follow, step.settings))
            case RemoveTable():
                remove_table()
            case Start():
                # Taken back even if it fails: a unit may have been half started.
                self._undo.append(partial(systemd.stop, step.unit))
                systemd.systemctl("start", "--no-block", step.unit)
            case Restart():
                again = partial(systemd.systemctl, "restart", "--no-block", step.unit)
                self._again.append(again)
                again()
            case Stop():
                self._again.append(partial(systemd.systemctl, "start", "--no-block", step.unit))
                systemd.stop(step.unit)
            case Systemctl():
                if step.undo:
                    self._undo.append(partial(systemd.systemctl, *step.undo))
                systemd.systemctl(*step.words)


def _carried_out(undo: list[Undo]) -> Iterator[str]:
    """Undo, the last first; yield what could not be."""
    while undo:
        try:
            undo.pop()()
        except (VmError, OSError) as error:
            yield str(error)


def write(path: Path, content: str, group: str, mode: int) -> None:
    """Replace a file atomically; it is never readable by more than it should be.

    Raises:
        OSError: it cannot be written; nothing new is left.
        VmError: there is no such group.

    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _own(temporary, group, mode)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_table() -> None:
    """Remove the table that captures, if one is loaded.

    Raises:
        VmError: nftables do not let it go.

    """
    try:
        with applying.alone():
            applying.remove(Nft())
    except CaptureError as error:
        raise VmError(str(error), "See `mesh capture check`.") from error


def _follow(settings: Path) -> None:
    """Have the capture be what its settings say."""
    if settings.exists():
        systemd.systemctl("restart", CAPTURE_UNIT)
    else:
        systemd.systemctl("stop", CAPTURE_UNIT)
        remove_table()


def remove_user() -> None:
    """Remove the proxies' user and its group."""
    systemd.run("userdel", USER)
    with contextlib.suppress(KeyError):  # as a rule the group has gone with its user
        grp.getgrnam(USER)
        systemd.run("groupdel", USER)


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _own(path: Path, group: str, mode: int) -> None:
    try:
        # Of a group without a name, the number is one.
        number = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise VmError(f"there is no group {group}", f"`groupadd --system {group}`") from None
    os.chown(path, 0, number)
    path.chmod(mode)


def _restorer(path: Path) -> Undo:
    found = found_file(path)
    if found is None:
        return lambda: path.unlink(missing_ok=True)
    return lambda: write(path, found.content, found.group, found.mode)
