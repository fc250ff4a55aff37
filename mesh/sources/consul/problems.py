"""What Consul holds that the mesh cannot accept, and what stands in its place.

An entry that cannot be read keeps its last good version; a person finds it in
:class:`Problems` until it is mended or gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mesh.model.violations import InvalidInputError, Violation

T = TypeVar("T")
Raw = Mapping[str, Any]

LAST_GOOD = "the last good version stands"
LEFT_OUT = "it is left out"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in Consul that is malformed; ``standing`` says what is used instead."""

    kind: str
    name: str
    violations: tuple[Violation, ...]
    standing: str = LAST_GOOD


class Problems:
    """Every problem there is now."""

    def __init__(self) -> None:
        """Start without any."""
        self._by_scope: dict[str, tuple[Problem, ...]] = {}

    def replace(self, scope: str, problems: Iterable[Problem]) -> None:
        """State all problems of ``scope``; those it had before are forgotten."""
        found = tuple(problems)
        if found:
            self._by_scope[scope] = found
        else:
            self._by_scope.pop(scope, None)

    @property
    def current(self) -> tuple[Problem, ...]:
        """All problems, by kind and name."""
        everything = (problem for found in self._by_scope.values() for problem in found)
        return tuple(sorted(everything, key=lambda problem: (problem.kind, problem.name)))


@dataclass(frozen=True, slots=True)
class _Read(Generic[T]):
    raw: Raw
    value: T | None
    problem: Problem | None
    good: T | None = None
    """The last version that could be read."""


class LastGood(Generic[T]):
    """Reads the named entries of one kind; parses only those that changed."""

    def __init__(
        self,
        kind: str,
        parse: Callable[[Raw], T],
        problems: Problems,
        *,
        fallback: Callable[[Raw], T | None] = lambda _: None,
        fallback_words: str | Callable[[Raw], str] = LEFT_OUT,
    ) -> None:
        """``fallback`` stands in for a malformed entry that never was good."""
        self._kind = kind
        self._parse = parse
        self._problems = problems
        self._fallback = fallback
        self._fallback_words = fallback_words
        self._entries: dict[str, _Read[T]] = {}

    def renew(self, raws: Mapping[str, Raw]) -> dict[str, T]:
        """Take ``raws`` as everything there is, and return what stands."""
        self._entries = {name: self._read(name, raw) for name, raw in raws.items()}
        self._problems.replace(
            self._kind, (read.problem for read in self._entries.values() if read.problem)
        )
        return {name: read.value for name, read in self._entries.items() if read.value is not None}

    def _read(self, name: str, raw: Raw) -> _Read[T]:
        before = self._entries.get(name)
        if before is not None and before.raw == raw:
            return before
        try:
            value = self._parse(raw)
            return _Read(raw, value, None, good=value)
        except InvalidInputError as error:
            if before is not None and before.good is not None:
                problem = self._problem(name, error, LAST_GOOD)
                return _Read(raw, before.good, problem, good=before.good)
            words = self._fallback_words
            standing = words if isinstance(words, str) else words(raw)
            return _Read(raw, self._fallback(raw), self._problem(name, error, standing))

    def _problem(self, name: str, error: InvalidInputError, standing: str) -> Problem:
        return Problem(self._kind, name, error.violations, standing)
