"""MeshRateLimit: how much a service takes, from its callers together or from each.

A local limit is kept by each proxy for itself and asks nobody.  A global limit is kept by a
rate limit service of the mesh, for all proxies together; its counters are told apart by the
policy's rule and by what ``by`` names.  Source: Kuma's MeshRateLimit; Envoy's rate limit API.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from mesh.model.inbound import (
    FailureMode,
    GlobalLimit,
    InboundRoute,
    InboundTraffic,
    TokenBucket,
)
from mesh.model.services import Protocol
from mesh.policies.kind import Kind, Violations
from mesh.policies.kinds.rate_limit.local import Local
from mesh.policies.shape import Strict
from mesh.policies.spec import Rule, RulesSpec
from mesh.policies.units import Count, Duration, ServiceName

HeaderName = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]
"""Narrow, because the name becomes a part of an Envoy command."""


class By(Strict):
    """What has a counter of its own: exactly one of the fields."""

    header: HeaderName | None = None
    """Each value of this request header; requests without it count together."""
    caller: Literal[True] | None = None
    """Each calling service, by its certificate."""
    path: Literal[True] | None = None
    """Each path, without its query."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("takes exactly one of header, caller and path")
        return self

    @property
    def entry(self) -> tuple[str, str]:
        """Return the descriptor's entry: key, and the Envoy command for its value."""
        if self.header is not None:
            name = self.header.lower()
            return f"header.{name}", f"%REQ({name})%"
        if self.caller:
            return "caller", "%DOWNSTREAM_PEER_URI_SAN%"
        return "path", "%PATH(NQ)%"


class Global(Strict):
    """A limit that a rate limit service keeps for all proxies together."""

    service: ServiceName
    """The rate limit service (Envoy's gRPC API), a service of the mesh."""
    domain: str = Field(default="mesh", min_length=1)
    """Keeps the counters apart from those of the service's other users."""
    requests: Count
    """How many requests are admitted."""
    unit: Literal["Second", "Minute", "Hour", "Day"]
    """In how much time."""
    by: tuple[By, ...] = ()
    """What has a counter of its own; each combination, where several are given."""
    failure_mode: Literal["Open", "Closed"] | None = None
    """Whether requests pass (``Open``) while the service does not answer; ``Closed`` if unsaid."""
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """How long the service may take to answer; 100ms where nothing is said."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=253)] | None = None
    """Limits that give the same name share their counters.  Unsaid, no other rule shares them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        keys = [each.entry[0] for each in self.by]
        for key in dict.fromkeys(keys):
            if keys.count(key) > 1:
                raise ValueError(f"by names {key.removeprefix('header.')} twice")
        return self

    def form(self) -> GlobalLimit:
        """Return the intermediate form."""
        limit = GlobalLimit(
            service=self.service,
            domain=self.domain,
            descriptor=(("policy", self.name or ""), *(each.entry for each in self.by)),
            limit=self.requests,
            unit=self.unit.lower(),
        )
        if self.failure_mode is not None:
            limit = replace(limit, failure=FailureMode(self.failure_mode.lower()))
        return limit if self.timeout is None else replace(limit, timeout=self.timeout)


class RateLimit(Strict):
    """The ``default`` of MeshRateLimit."""

    local: Local | None = None
    """Limits that each proxy keeps for itself."""
    global_: Global | None = Field(default=None, alias="global")
    """A limit that a rate limit service keeps for all proxies together."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.local is None and self.global_ is None:
            raise ValueError("says nothing: give local, global or both")
        return self


RateLimitSpec = RulesSpec[RateLimit]


def _on_inbound_route(conf: RateLimit, route: InboundRoute, protocol: Protocol) -> InboundRoute:
    if not protocol.is_http:
        return route
    if conf.local is not None and conf.local.http is not None:
        route = replace(route, limit=conf.local.http.form())
    if conf.global_ is not None:
        route = replace(route, global_limits=(conf.global_.form(),))
    return route


def _on_inbound(conf: RateLimit, inbound: InboundTraffic, _: Protocol) -> InboundTraffic:
    if conf.local is None or conf.local.tcp is None:
        return inbound
    rate = conf.local.tcp.connection_rate
    return replace(inbound, connection_rate=TokenBucket(rate.num, rate.interval))


def _check(spec: RateLimitSpec) -> Violations:
    for index, rule in enumerate(spec.rules):
        if rule.matches and rule.default.local is not None and rule.default.local.tcp is not None:
            yield (
                f"rules[{index}].default.local.tcp",
                "concerns connections: give it in a rule without matches",
            )


def _named(spec: RateLimitSpec, name: str) -> RateLimitSpec:
    """Give each rule's limits counters and buckets of their own.

    A global limit may say with whom it shares its counters.
    """
    # A given name holds no "/", so that it can never be taken for one of these.
    rules = [_as(f"{name}/{index}", rule) for index, rule in enumerate(spec.rules)]
    return spec.model_copy(update={"rules": tuple(rules)})


def _as(name: str, rule: Rule[RateLimit]) -> Rule[RateLimit]:
    default = rule.default
    if default.global_ is not None and default.global_.name is None:
        limit = default.global_.model_copy(update={"name": name})
        default = default.model_copy(update={"global_": limit})
    if default.local is not None and default.local.http is not None:
        local = default.local.model_copy(update={"http": default.local.http.of(name)})
        default = default.model_copy(update={"local": local})
    return rule.model_copy(update={"default": default})


KIND: Final = Kind(
    name="MeshRateLimit",
    summary="How many requests and connections a service takes, locally or over all its proxies.",
    conf=RateLimit,
    spec=RateLimitSpec,
    on_inbound_route=_on_inbound_route,
    on_inbound=_on_inbound,
    check=_check,
    named=_named,
    example="""\
type: MeshRateLimit
name: api-fair-use
spec:
  targetRef:
    kind: Dataplane
    labels: {service: api}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /search}
          source: {service: web}
      default:
        global:
          service: ratelimit
          requests: 1000
          unit: Minute
          by:
            - header: x-user
          failureMode: Open
    - default:
        local:
          http:
            requestRate: {num: 100, interval: 1s}
            burst: 200
            perCaller: true
            onRateLimit:
              status: 429
              headers:
                set:
                  - {name: retry-after, value: "1"}
          tcp:
            connectionRate: {num: 50, interval: 1s}
""",
)
