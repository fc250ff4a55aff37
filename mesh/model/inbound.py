"""What happens to a call at the callee's proxy, before the application sees it.

Part of the intermediate form (see ``model.traffic``).  Durations are seconds; ``None`` means that
nothing was said (Envoy's own default holds).  Percentages are 0 to 100.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mesh.model.destinations import Limits
from mesh.model.requests import (
    EVERYTHING,
    NO_EDITS,
    NO_ORIGINS,
    NO_TIMEOUTS,
    HeaderEdits,
    Match,
    Origins,
    Timeouts,
)
from mesh.model.services import Protocol


class TlsMode(enum.StrEnum):
    """What the mesh's listener accepts."""

    STRICT = "strict"
    PERMISSIVE = "permissive"
    """Plain text too, for migration; such a caller is nobody in particular."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """``tokens`` are added every ``interval``; the bucket holds ``burst`` (default: tokens)."""

    tokens: int
    interval: float
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class LocalLimit:
    """A limit of requests within each proxy; ``per_caller`` gives each calling service its own.

    All routes with the limit of one ``rule`` share it.
    """

    bucket: TokenBucket
    per_caller: bool = False
    status: int = 429
    response_headers: HeaderEdits = NO_EDITS
    rule: str = ""


class FailureMode(enum.StrEnum):
    """What happens to a call while whoever decides about it cannot be reached."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class GlobalLimit:
    """A limit over all proxies, kept by a rate limit service of the mesh.

    ``descriptor`` names the limit there: ordered key and value; a value may be an Envoy command
    such as ``%REQ(x-user)%``.  ``limit`` requests are allowed per ``unit`` (second, minute,
    hour, day) for each combination.
    """

    service: str
    domain: str
    descriptor: tuple[tuple[str, str], ...]
    limit: int
    unit: str
    failure: FailureMode = FailureMode.CLOSED
    timeout: float = 0.1


@dataclass(frozen=True, slots=True)
class Abort:
    """Answer ``percent`` of the requests with ``status`` instead (a gRPC status if given)."""

    percent: float
    status: int = 503
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold ``percent`` of the requests back for ``seconds``."""

    percent: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Failures made on purpose.

    ``bandwidth`` is KiB/s of the answer, for ``bandwidth_percent`` of the requests.
    """

    abort: Abort | None = None
    delay: Delay | None = None
    bandwidth: int | None = None
    bandwidth_percent: float = 100.0


@dataclass(frozen=True, slots=True)
class TokenRule:
    """End users' tokens: one of ``providers`` must have issued a valid one (any, if ``optional``).

    A provider is a ``jwt-provider`` entry's name.  ``claims`` (path, value) must all be there.
    """

    providers: tuple[str, ...]
    claims: tuple[tuple[tuple[str, ...], str], ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ExternalAuthorization:
    """Ask an authorization service of the mesh (Envoy's ext_authz) about each request."""

    service: str
    protocol: Protocol = Protocol.GRPC
    path_prefix: str = ""
    request_headers: tuple[str, ...] = ()
    """Sent to an HTTP authorization service beside the standard ones."""
    upstream_headers: tuple[str, ...] = ()
    """Taken from its answer into the request."""
    timeout: float = 0.2
    failure: FailureMode = FailureMode.CLOSED
    max_body: int = 0
    """Bytes of the body that are sent along; 0 sends none."""


@dataclass(frozen=True, slots=True)
class InboundRoute:
    """What happens to the requests that match, before the application sees them."""

    match: Match = EVERYTHING
    timeouts: Timeouts = NO_TIMEOUTS
    limit: LocalLimit | None = None
    global_limits: tuple[GlobalLimit, ...] = ()
    fault: Fault | None = None
    token: TokenRule | None = None
    authorization: ExternalAuthorization | None = None
    refusal: str = ""
    """Why no such request is let through; empty if it may be."""
    origins: Origins = field(default_factory=lambda: NO_ORIGINS, compare=False)


PLAIN_INBOUND = InboundRoute()


@dataclass(frozen=True, slots=True)
class InboundTraffic:
    """All about calls to one service at its own proxies.

    Without ``routes`` nothing needs HTTP.  With them the last matches everything.
    ``connection_rate`` limits new connections, ``limits`` those to the application.
    """

    routes: tuple[InboundRoute, ...] = ()
    mode: TlsMode = TlsMode.STRICT
    connect_timeout: float | None = None
    idle_timeout: float | None = None
    limits: Limits | None = None
    connection_rate: TokenBucket | None = None
    origins: Origins = field(default_factory=lambda: NO_ORIGINS, compare=False)

    @property
    def services(self) -> tuple[str, ...]:
        """The services of the mesh that the proxy itself must call to decide."""
        named = [limit.service for route in self.routes for limit in route.global_limits]
        named += [route.authorization.service for route in self.routes if route.authorization]
        return tuple(dict.fromkeys(named))


OPEN_INBOUND = InboundTraffic()
