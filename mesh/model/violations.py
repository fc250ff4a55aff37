"""What is wrong with an input, all of it at once.

A parser appends to a :class:`Report` as it walks its input and ends with
:meth:`Report.close`, so that a person mends a document in one go.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong at one place.

    ``path`` is written as a person would point at it: ``Sources[1].Permissions[0].HTTP``.
    """

    path: str
    message: str

    def __str__(self) -> str:
        """Write the violation on one line."""
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidInputError(ValueError):
    """An input was refused; ``violations`` holds every reason, ``subject`` what was read."""

    def __init__(self, subject: str, violations: tuple[Violation, ...]) -> None:
        """Keep what was refused and why."""
        self.subject = subject
        self.violations = violations
        lines = "".join(f"\n  {violation}" for violation in violations)
        super().__init__(f"{subject} is not valid:{lines}")


@dataclass(slots=True)
class Report:
    """Collects violations below one place of a document."""

    subject: str
    found: list[Violation] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        """Note that ``path`` is wrong because of ``message``."""
        self.found.append(Violation(path, message))

    def refuse(self, path: str, message: str) -> InvalidInputError:
        """Return the error that says this beside all that was noted."""
        self.add(path, message)
        return InvalidInputError(self.subject, tuple(self.found))

    def close(self) -> None:
        """Raise :class:`InvalidInputError` if anything was noted."""
        if self.found:
            raise InvalidInputError(self.subject, tuple(self.found))
