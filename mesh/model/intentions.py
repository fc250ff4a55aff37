"""Intentions: who may call whom, in Consul's terms.

Values only.  What they mean is in ``policies.intentions``: precedence and the verdict on a
call, and the RBAC they compile to.  Source: Consul's reference for ``service-intentions`` and
``jwt-provider`` configuration entries.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import callers
from mesh.model.names import WILDCARD


class Action(enum.StrEnum):
    """What an intention or a permission does with a call that it matches."""

    ALLOW = "allow"
    DENY = "deny"

    @property
    def other(self) -> Action:
        """The opposite."""
        return Action.DENY if self is Action.ALLOW else Action.ALLOW


class HeaderMatchKind(enum.StrEnum):
    """How a header's value is compared."""

    PRESENT = "present"
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """One header condition.  ``value`` is empty for ``PRESENT``; ``regex`` is RE2."""

    name: str
    kind: HeaderMatchKind
    value: str = ""
    invert: bool = False
    ignore_case: bool = False


class PathMatchKind(enum.StrEnum):
    """How a path (without its query) is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """One path condition; ``regex`` is RE2 and matches the whole path."""

    kind: PathMatchKind
    value: str


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A claim that must equal ``value``; ``path`` walks nested objects."""

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class JwtRequirement:
    """A token of ``provider`` whose claims all match."""

    provider: str
    claims: tuple[ClaimMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """An L7 rule.  An empty condition matches everything; conditions are ANDed.

    ``jwt`` is satisfied by any one of its requirements.
    """

    action: Action
    path: PathMatch | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()
    jwt: tuple[JwtRequirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Intention:
    """What ``source`` may do to ``destination``; either may be ``*``.

    A ``source`` of a peer is written ``web@partner``, or ``*@partner`` for all of its services.
    Exactly one of ``action`` and ``permissions`` is given.  ``jwt`` is the requirement that
    the destination's whole entry makes of HTTP callers.  ``id`` is the legacy API's, if any.
    """

    source: str
    destination: str
    action: Action | None = None
    permissions: tuple[Permission, ...] = ()
    jwt: tuple[JwtRequirement, ...] = ()
    description: str = ""
    id: str = ""

    @property
    def precedence(self) -> int:
        """Consul's precedence: higher decides (9 exact→exact, 8 *→exact, 6 exact→*, 5 *→*)."""
        anybody = callers.is_wildcard(self.source)
        if self.destination != WILDCARD:
            return 8 if anybody else 9
        return 5 if anybody else 6

    @property
    def peer(self) -> str:
        """The peer whose callers it is about; empty for callers of our own trust domain."""
        return callers.peer_of(self.source)

    @property
    def label(self) -> str:
        """How people name it: ``web → api``."""
        return f"{self.source} → {self.destination}"


@dataclass(frozen=True, slots=True)
class JwtLocation:
    """Where a token is looked for: exactly one of the three is set."""

    header: str = ""
    value_prefix: str = ""
    query_param: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """A ``jwt-provider`` entry.

    ``jwks`` is the key set itself (JSON text); ``remote_uri`` where Envoy fetches it.
    Exactly one is set.  Durations are seconds.
    """

    name: str
    issuer: str
    jwks: str = ""
    remote_uri: str = ""
    remote_timeout: float = 1.0
    remote_cache: float = 300.0
    audiences: tuple[str, ...] = ()
    locations: tuple[JwtLocation, ...] = ()
    forward: bool = False
    """Whether a token that was verified stays in the request."""
    forward_header: str = ""
    """The header in which a token's payload is passed on."""
    forward_padded: bool = False
    """Whether that payload's base64 ends with its padding."""
    clock_skew: int = 30


IntentionsByDestination = Mapping[str, tuple[Intention, ...]]
"""Every intention of a zone, keyed by destination (``*`` included)."""
