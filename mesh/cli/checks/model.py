"""What a check is, and what it finds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"

    @property
    def mark(self) -> str:
        """The sign in front of it."""
        return {Level.OK: "√", Level.WARNING: "‼", Level.FAILURE: "×"}[self]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so, and what to do about it if it should not be."""

    level: Level
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(Level.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """Make a finding that something deserves a look."""
    return Finding(Level.WARNING, text, remedy)


def failure(text: str, remedy: str) -> Finding:
    """Make a finding that the mesh cannot do its work so."""
    return Finding(Level.FAILURE, text, remedy)


class Check(Protocol):
    """One check.  If a ``vital`` one fails, the rest of its section cannot be checked."""

    @property
    def title(self) -> str:
        """What is checked, in a few words."""
        ...

    @property
    def vital(self) -> bool:
        """Whether the rest of the section depends on it."""
        ...

    async def run(self) -> Sequence[Finding]:
        """Look, and say what was found: at least one thing."""
        ...


@dataclass(frozen=True, slots=True)
class Section:
    """Checks of one part of the system."""

    name: str
    checks: Sequence[Check]


@dataclass(frozen=True, slots=True)
class Checked:
    """A section after its checks ran."""

    name: str
    findings: Sequence[tuple[str, Finding]]

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return any(finding.level is Level.FAILURE for _, finding in self.findings)
