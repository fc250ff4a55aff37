"""MeshLoadBalancingStrategy: which instance of a service gets a call.

Ring hash and Maglev send calls with equal hashes to the same instance; what is hashed stands in
``hashPolicies``, and a cookie that the proxy sets itself makes sessions stick.  ``MIN_RING`` is
Envoy's default, below which a ring's greatest size may push it.

Source: Kuma's MeshLoadBalancingStrategy; Envoy's documentation of load balancers.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from mesh.model.destinations import Balancing, HashKind, LoadBalancing, Settings
from mesh.model.services import Protocol
from mesh.policies.kind import Kind, Violations
from mesh.policies.kinds.load_balancing.cross_zone import CrossZone, check_cross_zone, cross_zone
from mesh.policies.kinds.load_balancing.hashing import HashModel
from mesh.policies.kinds.load_balancing.local_zone import LocalZone, local_zone
from mesh.policies.shape import Strict, given
from mesh.policies.spec import ToSpec
from mesh.policies.units import Duration

MIN_RING: Final = 1024

_LARGEST_RING: Final = 8_388_608
_LARGEST_TABLE: Final = 5_000_011
_ALGORITHMS: Final = {
    "RoundRobin": Balancing.ROUND_ROBIN,
    "LeastRequest": Balancing.LEAST_REQUEST,
    "RingHash": Balancing.RING_HASH,
    "Maglev": Balancing.MAGLEV,
    "Random": Balancing.RANDOM,
}
_HASHING: Final = frozenset({"RingHash", "Maglev"})
_SLOW: Final = frozenset({"RoundRobin", "LeastRequest"})


def _prime(value: int) -> int:
    if any(value % divisor == 0 for divisor in range(2, isqrt(value) + 1)):
        raise ValueError(f"{value} is no prime number, as Maglev's table needs")
    return value


RingSize = Annotated[int, Field(ge=1, le=_LARGEST_RING)]
TableSize = Annotated[int, Field(ge=2, le=_LARGEST_TABLE), AfterValidator(_prime)]


class LeastRequest(Strict):
    """The least busy of a few."""

    choice_count: Annotated[int, Field(ge=2, le=2**31 - 1)] | None = None
    """How many instances, chosen at random, are compared."""


class RingHash(Strict):
    """Consistent hashing on a ring."""

    min_ring_size: RingSize | None = None
    """The least number of places; more balance better."""
    max_ring_size: RingSize | None = None
    """The greatest number of places."""


class Maglev(Strict):
    """Consistent hashing by a table."""

    table_size: TableSize | None = None
    """A prime number, well above the number of instances."""


class Balancer(Strict):
    """The algorithm, and what it is given."""

    type: Literal["RoundRobin", "LeastRequest", "RingHash", "Maglev", "Random"] | None = None
    """The algorithm."""
    least_request: LeastRequest | None = None
    """For type LeastRequest."""
    ring_hash: RingHash | None = None
    """For type RingHash."""
    maglev: Maglev | None = None
    """For type Maglev."""


class SlowStart(Strict):
    """Gives new instances less at first (RoundRobin and LeastRequest)."""

    window: Duration | None = None
    """How long an instance counts as new; 0 is not at all."""
    aggression: Annotated[float, Field(gt=0, le=100)] | None = None
    """How fast its part grows: 1 is evenly, more is faster at first."""


class LocalityAwareness(Strict):
    """Whether near instances come first, and which zones stand in for which."""

    prefer_local: bool | None = None
    """Instances of the caller's own locality get the calls while enough of them are healthy."""
    local_zone: LocalZone | None = None
    """How calls are shared out among the instances of the caller's zone."""
    cross_zone: CrossZone | None = None
    """Which zones stand in for the caller's own; without, all of them, the nearest first."""


class Strategy(Strict):
    """The ``default`` of MeshLoadBalancingStrategy."""

    load_balancer: Balancer | None = None
    """How an instance is chosen."""
    hash_policies: tuple[HashModel, ...] | None = None
    """What RingHash and Maglev hash, in order; of a tcp service only `SourceIP` can be."""
    slow_start: SlowStart | None = None
    """Gives new instances less at first."""
    locality_awareness: LocalityAwareness | None = None
    """Whether near instances come first."""


StrategySpec = ToSpec[Strategy]


def _on_target(conf: Strategy, settings: Settings, protocol: Protocol) -> Settings:
    fields: dict[str, Any] = {}
    if conf.load_balancer is not None:
        fields |= _balancer(conf.load_balancer)
    if conf.hash_policies is not None:
        hashing = [policy.form() for policy in conf.hash_policies]
        if not protocol.is_http:
            hashing = [policy for policy in hashing if policy.kind is HashKind.SOURCE_IP]
        fields["hashing"] = tuple(hashing)
    if conf.slow_start is not None:
        if conf.slow_start.window is not None:
            fields["slow_start"] = conf.slow_start.window or None
        if conf.slow_start.aggression is not None:
            fields["slow_start_aggression"] = conf.slow_start.aggression
    if conf.locality_awareness is not None:
        aware = conf.locality_awareness
        fields |= given(local_first=aware.prefer_local)
        fields |= local_zone(aware.local_zone) if aware.local_zone is not None else {}
        fields |= cross_zone(aware.cross_zone) if aware.cross_zone is not None else {}
    return replace(settings, balancing=_fitting(replace(settings.balancing, **fields)))


def _balancer(conf: Balancer) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if conf.type is not None:
        fields["algorithm"] = _ALGORITHMS[conf.type]
    if conf.least_request is not None:
        fields["choices"] = conf.least_request.choice_count
    if conf.ring_hash is not None:
        fields["min_ring"] = conf.ring_hash.min_ring_size
        fields["max_ring"] = conf.ring_hash.max_ring_size
    if conf.maglev is not None:
        fields["table_size"] = conf.maglev.table_size
    return given(**fields)


def _fitting(balancing: LoadBalancing) -> LoadBalancing:
    """Bring a ring's sizes in order, each of which another document may have said."""
    if balancing.max_ring is None:
        return balancing
    least = MIN_RING if balancing.min_ring is None else balancing.min_ring
    if least <= balancing.max_ring:
        return balancing
    return replace(balancing, min_ring=balancing.max_ring)


def _check(spec: StrategySpec) -> Violations:
    for index, to in enumerate(spec.to):
        place, conf = f"to[{index}].default", to.default
        aware = conf.locality_awareness
        if aware is not None and aware.prefer_local and aware.local_zone is not None:
            wrong = "shares the calls out, which preferLocal does not; give one of them"
            yield f"{place}.localityAwareness.localZone", wrong
        if aware is not None and aware.cross_zone is not None:
            yield from check_cross_zone(f"{place}.localityAwareness.crossZone", aware.cross_zone)
        balancer = conf.load_balancer
        if balancer is None:
            continue
        yield from _check_balancer(f"{place}.loadBalancer", balancer)
        if balancer.type is None:
            continue
        if conf.hash_policies and balancer.type not in _HASHING:
            yield f"{place}.hashPolicies", f"{balancer.type} hashes nothing; use RingHash or Maglev"
        if conf.slow_start and balancer.type not in _SLOW:
            wrong = f"{balancer.type} has no slow start; use RoundRobin or LeastRequest"
            yield f"{place}.slowStart", wrong


def _check_balancer(place: str, said: Balancer) -> Violations:
    parts = {
        "LeastRequest": ("leastRequest", said.least_request),
        "RingHash": ("ringHash", said.ring_hash),
        "Maglev": ("maglev", said.maglev),
    }
    for kind, (name, part) in parts.items():
        if part is not None and said.type not in {None, kind}:
            yield f"{place}.{name}", f"is for type {kind}, not {said.type}"
    ring = said.ring_hash
    if ring and (ring.min_ring_size or 0) > (ring.max_ring_size or _LARGEST_RING):
        yield f"{place}.ringHash", "minRingSize is greater than maxRingSize"


KIND: Final = Kind(
    name="MeshLoadBalancingStrategy",
    summary="Which instance of a service gets a call: algorithm, sessions, the near, other zones.",
    conf=Strategy,
    spec=StrategySpec,
    on_target=_on_target,
    check=_check,
    example="""\
type: MeshLoadBalancingStrategy
name: api-sessions
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      default:
        loadBalancer:
          type: RingHash
          ringHash: {minRingSize: 1024, maxRingSize: 65536}
        hashPolicies:
          - type: Cookie
            cookie: {name: session, ttl: 1h, path: /}
            terminal: true
          - type: SourceIP
        localityAwareness:
          preferLocal: true
          crossZone:
            failover:
              - to: {type: Only, zones: [west, east]}
""",
)
