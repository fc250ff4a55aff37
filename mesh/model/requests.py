"""What a request is told by, and what may be changed about it.

Parts of the intermediate form that the caller's side and the callee's side share.  Durations are
seconds; ``None`` means that nothing was said (Envoy's own default holds), 0 means "for ever".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mesh.model.intentions import HeaderMatch

Origins = Mapping[str, str]
"""For each setting (``timeouts.request``) the document that said it (``MeshTimeout slow``)."""

NO_ORIGINS: Origins = MappingProxyType({})


class PathKind(enum.StrEnum):
    """How a path (without its query) is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    """Any characters may follow, as in Consul's ``PathPrefix``."""
    SEGMENTS = "segments"
    """Whole segments: ``/a`` matches ``/a`` and ``/a/b``, not ``/ab`` (Gateway API)."""
    REGEX = "regex"
    """RE2, the whole path."""


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A condition on the path."""

    kind: PathKind
    value: str
    ignore_case: bool = False


class QueryKind(enum.StrEnum):
    """How a query parameter is compared."""

    PRESENT = "present"
    EXACT = "exact"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """A condition on one query parameter; ``regex`` is RE2."""

    name: str
    kind: QueryKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class CallerMatch:
    """A condition on the caller's proven identity; an empty ``zone`` means any."""

    service: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions on a request, ANDed; an empty one matches everything.

    ``callers`` (any one of them) can be told on the callee's side only.
    """

    path: PathMatch | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    callers: tuple[CallerMatch, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether there is no condition."""
        return self == EVERYTHING


EVERYTHING = Match()


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header changes: ``add`` appends a value, ``set`` replaces, ``remove`` takes away."""

    add: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_EDITS = HeaderEdits()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a request may take: as a whole, and without a byte in either direction."""

    request: float | None = None
    idle: float | None = None


NO_TIMEOUTS = Timeouts()
