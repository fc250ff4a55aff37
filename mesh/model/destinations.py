"""Where calls can end, and how a caller's proxy treats what is there.

Part of the intermediate form (see ``model.traffic``).  Durations are seconds; ``None`` means that
nothing was said (Envoy's own default holds).  Percentages are 0 to 100.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from mesh.model.filters import Filter
from mesh.model.names import ZONE_EGRESS
from mesh.model.requests import NO_EDITS, NO_ORIGINS, HeaderEdits, Origins
from mesh.model.services import Protocol

HERE: Final = "."
"""The zone of a target that is pinned to the caller's own."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where calls can end: a service (or external service), perhaps only a subset of it.

    An empty ``zone`` is the caller's own, and so is :data:`HERE`, for which no other zone stands
    in; another's instances stand behind its gateways.
    """

    service: str
    subset: str = ""
    zone: str = ""

    @property
    def name(self) -> str:
        """The name of the target's cluster: ``api``, ``v2.api``, or ``v2.api@west``."""
        name = f"{self.subset}.{self.service}" if self.subset else self.service
        return f"{name}@{self.zone}" if self.zone else name

    @property
    def elsewhere(self) -> str:
        """The other zone where it is; empty if it is in the caller's own."""
        return "" if self.zone == HERE else self.zone


class HashKind(enum.StrEnum):
    """What of a request is hashed."""

    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"
    SOURCE_IP = "source-ip"


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """Requests with equal hashes go to the same instance (ring hash and maglev only).

    A cookie with a ``ttl`` is set by the proxy where it is absent; 0 is a session cookie.
    """

    kind: HashKind
    name: str = ""
    ttl: float | None = None
    path: str = ""
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Envoy's circuit breaker thresholds, per proxy and cluster; None leaves Envoy's 1024 (3).

    ``retry_budget`` is the share (percent) of the active requests that may be retries, with at
    least ``min_retries`` at a time; it takes the place of ``retries``.
    """

    connections: int | None = None
    pending: int | None = None
    requests: int | None = None
    retries: int | None = None
    retry_budget: float | None = None
    min_retries: int | None = None
    requests_per_connection: int | None = None


@dataclass(frozen=True, slots=True)
class Detectors:
    """Envoy's outlier detectors.  A detector whose threshold is None is off."""

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    consecutive_local: int | None = None
    success_rate_stdev: float | None = None
    success_rate_hosts: int | None = None
    success_rate_volume: int | None = None
    failure_percent: int | None = None
    failure_percent_hosts: int | None = None
    failure_percent_volume: int | None = None
    consecutive_5xx_enforced: int | None = None
    """Percent of what ``consecutive_5xx`` detects that is acted upon; None means all."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """When an instance is left out for a while, and how many may be at once."""

    detectors: Detectors
    interval: float | None = None
    base_ejection: float | None = None
    max_ejection: float | None = None
    max_ejection_percent: int | None = None
    split_local: bool = False


class ProbeKind(enum.StrEnum):
    """What an active health check speaks."""

    TCP = "tcp"
    HTTP = "http"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Probe:
    """An active health check by the caller's proxy."""

    kind: ProbeKind
    interval: float
    timeout: float
    unhealthy: int
    healthy: int
    path: str = "/"
    host: str = ""
    service: str = ""
    """The gRPC health service's name."""
    expected: tuple[int, ...] = ()
    request_headers: HeaderEdits = NO_EDITS
    reuse_connection: bool = True
    jitter_percent: int | None = None


class Balancing(enum.StrEnum):
    """Envoy's load balancers."""

    ROUND_ROBIN = "round-robin"
    LEAST_REQUEST = "least-request"
    RANDOM = "random"
    RING_HASH = "ring-hash"
    MAGLEV = "maglev"


@dataclass(frozen=True, slots=True)
class ZoneRule:
    """Where calls from the zones ``origins`` (empty: from any) turn to, one rule after another.

    ``zones`` are tried in order; with ``others`` it is every zone but those, the nearest first.
    Neither is nobody.
    """

    origins: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    others: bool = False


@dataclass(frozen=True, slots=True)
class Affinity:
    """Instances that have what the caller has under the label ``key`` get ``weight`` parts."""

    key: str
    weight: int


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """How an instance is chosen.

    ``hashing`` is what routes to the target hash by.  ``local_first`` prefers instances of the
    caller's own locality as long as they are healthy enough; by ``affinity`` they share the calls
    with the others, of whom all together get one part.  ``cross_zone`` says which zones
    stand in for this one (None: all, the nearest first), and ``spill_below`` from which share of
    usable instances on they do, in percent (None: once there is none).
    """

    algorithm: Balancing = Balancing.LEAST_REQUEST
    choices: int | None = None
    min_ring: int | None = None
    max_ring: int | None = None
    table_size: int | None = None
    slow_start: float | None = None
    slow_start_aggression: float | None = None
    hashing: tuple[HashPolicy, ...] = ()
    local_first: bool = False
    affinity: tuple[Affinity, ...] = ()
    cross_zone: tuple[ZoneRule, ...] | None = None
    spill_below: int | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One address of an external service: a DNS name or an IP literal."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class External:
    """A service outside the mesh.  ``tls`` originates TLS, verified by ``ca`` or the system's.

    ``ca`` is PEM; ``sni`` and ``names`` (subject alternative names) default to the address.
    ``ca_file`` takes the place of ``ca``, and ``certificate`` is a pair of files (certificate,
    key) to show: both are names below the directory for files of whoever dials.
    """

    hosts: tuple[Host, ...]
    tls: bool = False
    sni: str = ""
    names: tuple[str, ...] = ()
    ca: str = ""
    verify: bool = True
    ca_file: str = ""
    certificate: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a caller's proxy treats one target."""

    connect_timeout: float = 5.0
    idle_timeout: float | None = None
    """Of a pooled connection (HTTP) or of the connection itself (TCP)."""
    max_duration: float | None = None
    """Of a connection."""
    limits: Limits | None = None
    outlier: Outlier | None = None
    probe: Probe | None = None
    balancing: LoadBalancing = LoadBalancing()
    connect_attempts: int | None = None
    """How often to try to connect (TCP only); None is once."""
    origins: Origins = field(default_factory=lambda: NO_ORIGINS, compare=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances of a service a target has.

    With ``by_egress`` the egress gateways of the caller's zone are dialled in their place.
    """

    target: Target
    filter: Filter | None = None
    only_passing: bool = False
    by_egress: bool = False

    @property
    def is_outside(self) -> bool:
        """Whether the target is an external service behind the egress gateways."""
        return self.by_egress and not self.target.elsewhere

    @property
    def dialled(self) -> str:
        """The service of this zone whose instances are dialled; empty if it is another zone's."""
        if self.by_egress:
            return ZONE_EGRESS
        return "" if self.target.elsewhere else self.target.service


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Destination:
    """A target, which instances it has, where calls go when it has none, how it is treated.

    ``failover`` holds the selections tried in turn after the first, in this zone or in others.
    ``external`` takes the place of instances.
    """

    selection: Selection
    protocol: Protocol
    settings: Settings
    failover: tuple[Selection, ...] = ()
    external: External | None = None

    @property
    def target(self) -> Target:
        """What the destination is of."""
        return self.selection.target

    @property
    def services(self) -> tuple[str, ...]:
        """The services of this zone whose instances it dials; none if it is external."""
        dialled = (one.dialled for one in self.selections)
        return tuple(dict.fromkeys(service for service in dialled if service))

    @property
    def selections(self) -> tuple[Selection, ...]:
        """What is tried in turn, the first included; none if it is external."""
        return () if self.external is not None else (self.selection, *self.failover)

    @property
    def zones(self) -> tuple[str, ...]:
        """The other zones that it may have calls sent to."""
        named = (one.target.elsewhere for one in self.selections)
        return tuple(dict.fromkeys(zone for zone in named if zone))
