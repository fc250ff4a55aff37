"""How calls travel: the one form that every front end compiles to and the renderer knows.

Consul's configuration entries, the mesh's own policies and Kubernetes routes all end here: a
:class:`Traffic` holds ordered routes, and for each target that they name a destination.  The
callee's side is in ``model.inbound``.  Durations are seconds; ``None`` means that nothing was said
(Envoy's own default holds).  Percentages are 0 to 100.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.model.destinations import Destination, HashPolicy, Target
from mesh.model.requests import (
    NO_EDITS,
    NO_ORIGINS,
    NO_TIMEOUTS,
    HeaderEdits,
    Match,
    Origins,
    Timeouts,
)
from mesh.model.services import Protocol

WHOLE = 10_000
"""The sum of the weights of one :class:`Forward`: hundredths of a percent, as in Consul."""


@dataclass(frozen=True, slots=True)
class Share:
    """What of the traffic goes to one target: ``weight`` out of :data:`WHOLE`."""

    target: Target
    weight: int = WHOLE
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


class RewriteKind(enum.StrEnum):
    """What of the path is replaced."""

    PREFIX = "prefix"
    """The matched prefix (the route must match by prefix or by segments)."""
    FULL = "full"


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """A new path, or a new beginning of it."""

    kind: RewriteKind
    value: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to the targets by weight.  The weights sum to :data:`WHOLE`; none means 500."""

    shares: tuple[Share, ...]
    path: PathRewrite | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirect; empty fields keep what the request had."""

    status: int = 302
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: PathRewrite | None = None


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer without asking anybody."""

    status: int
    body: str = ""


Action = Forward | Redirect | Respond


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is tried again.

    ``on`` holds Envoy's conditions (``x-envoy-retry-on`` and ``x-envoy-retry-grpc-on``);
    ``statuses`` are added to ``retriable-status-codes``; ``methods`` restricts to those.
    ``per_try`` None means no limit of its own.  With ``fails_over`` a request that failed where
    calls go first is tried where they fail over to.
    """

    attempts: int
    on: tuple[str, ...]
    statuses: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    per_try: float | None = None
    backoff_base: float | None = None
    backoff_max: float | None = None
    other_hosts: bool = True
    fails_over: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of ``percent`` of the requests, whose answers nobody waits for."""

    target: Target
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin answers (Fetch standard).  Origins are exact, or RE2 in ``origin_regexes``."""

    origins: tuple[str, ...] = ()
    origin_regexes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of the requests that match.

    ``name`` is the name of the policy or entry that made the route, ``origins`` tell where each
    setting came from; neither counts in comparison.
    """

    match: Match
    action: Action
    timeouts: Timeouts = NO_TIMEOUTS
    retry: Retry | None = None
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    mirrors: tuple[Mirror, ...] = ()
    hashing: tuple[HashPolicy, ...] = ()
    cors: Cors | None = None
    name: str = field(default="", compare=False)
    origins: Origins = field(default_factory=lambda: NO_ORIGINS, compare=False)


@dataclass(frozen=True, slots=True)
class Traffic:
    """All about calls from one service's proxies to ``service``.

    The last route matches everything.  For a ``tcp`` service there is exactly one, whose action
    is a :class:`Forward`.  Every target of a route has its destination.
    """

    service: str
    protocol: Protocol
    routes: tuple[Route, ...]
    destinations: Mapping[Target, Destination]
