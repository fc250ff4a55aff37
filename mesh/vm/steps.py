"""What is done to a host, one value for each kind: shown by ``--dry-run``, else carried out.

:mod:`mesh.vm.changes` carries out those of a join and knows how each is undone;
:mod:`mesh.vm.leaving` carries out those of a leave.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mesh.vm.layout import HOME, USER


@dataclass(frozen=True, slots=True)
class MakeUser:
    """The system user of the proxies, with its group."""

    @property
    def command(self) -> tuple[str, ...]:
        """What makes it."""
        return (
            *("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", HOME),
            *("--shell", "/usr/sbin/nologin", USER),
        )

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"run      {shlex.join(self.command)}"


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """A directory that is missing."""

    path: Path
    group: str = "root"
    mode: int = 0o755

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"make     {self.path}/ (root:{self.group} {self.mode:04o})"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file that is missing, or says something else."""

    path: Path
    content: str
    group: str = "root"
    mode: int = 0o644
    exists: bool = False

    def __str__(self) -> str:
        """Tell it to a person; the content of a token is not told."""
        verb = "replace" if self.exists else "write"
        return f"{verb:<8} {self.path} (root:{self.group} {self.mode:04o})"


@dataclass(frozen=True, slots=True)
class MakeLink:
    """A symbolic link that is missing."""

    path: Path
    target: Path

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"link     {self.path} -> {self.target}"


@dataclass(frozen=True, slots=True)
class PutAway:
    """What a copied machine has of its source; it is gone when all has gone well."""

    path: Path
    reason: str

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"remove   {self.path} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Expect:
    """A directory that a unit makes, and that goes with it."""

    path: Path

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"expect   {self.path}/ (made by the unit)"


@dataclass(frozen=True, slots=True)
class Systemctl:
    """A call of ``systemctl``, and the one that undoes it, if one does."""

    words: tuple[str, ...]
    undo: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"run      systemctl {shlex.join(self.words)}"


@dataclass(frozen=True, slots=True)
class _OfUnit:
    """What ``systemctl`` does to one unit."""

    unit: str
    verb: ClassVar[str]

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"run      systemctl {self.verb} {self.unit}"


class Start(_OfUnit):
    """The start of a unit, which nobody waits for."""

    __slots__ = ()
    verb = "start --no-block"


class Restart(_OfUnit):
    """Another run of a unit, with what is there by then; nobody waits for it."""

    __slots__ = ()
    verb = "restart --no-block"


class Stop(_OfUnit):
    """The end of a unit, with all that it started."""

    __slots__ = ()
    verb = "stop"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or a directory; with ``if_empty``, only a directory with nothing in it."""

    path: Path
    if_empty: bool = False

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"remove   {self.path}{' (if nothing is in it)' if self.if_empty else ''}"


@dataclass(frozen=True, slots=True)
class CaptureFollows:
    """From here on, a join that is taken back has the capture load what its settings say then."""

    settings: Path

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"keep     what {self.settings} says of the capture now, to go back to"


@dataclass(frozen=True, slots=True)
class RemoveTable:
    """The table of rules that captures; stopping its unit leaves it."""

    def __str__(self) -> str:
        """Tell it to a person."""
        return "run      mesh capture remove"


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """The system user of the proxies, with its group."""

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"run      userdel {USER}"


@dataclass(frozen=True, slots=True)
class Deregister:
    """An instance that is out of the mesh must not be in its registry."""

    service: str
    settings: Path

    def __str__(self) -> str:
        """Tell it to a person."""
        return f"take     {self.service} out of the registry, if it is still there"


Step = (
    MakeUser
    | MakeDirectory
    | WriteFile
    | MakeLink
    | PutAway
    | Expect
    | Start
    | Restart
    | Stop
    | Systemctl
    | Remove
    | CaptureFollows
    | RemoveTable
)
"""What a join does; each can be taken back."""
