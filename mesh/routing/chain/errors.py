"""Why a service's entries make no chain, and which entry is to blame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from mesh.model.violations import Violation


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one entry (``service-resolver api``), or with none in particular."""

    entry: str
    violation: Violation

    def __str__(self) -> str:
        """Write the fault on one line."""
        return f"{self.entry}: {self.violation}" if self.entry else str(self.violation)


class ChainError(ValueError):
    """The entries that make up a chain contradict one another; ``faults`` holds every reason.

    ``names`` are the services whose entries were looked at: a change to one of them may mend it.
    """

    def __init__(self, faults: tuple[Fault, ...], names: frozenset[str]) -> None:
        """Keep what is wrong and what was read to find it."""
        self.faults = faults
        self.names = names
        super().__init__("; ".join(map(str, faults)))

    @classmethod
    def of(cls, message: str, *, names: frozenset[str], by: str = "") -> Self:
        """Return an error that ``by`` is to blame for, or no single entry."""
        return cls((Fault(by, Violation("", message)),), names)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What is wrong, without the entries' names."""
        return tuple(fault.violation for fault in self.faults)
