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
    LocalLimit,
    TokenBucket,
)
from mesh.model.requests import NO_EDITS, HeaderEdits
from mesh.model.services import Protocol
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import Strict
from mesh.policies.spec import RulesSpec
from mesh.policies.units import Count, Duration, HeaderValue, ServiceName, literal

_SHORTEST: Final = 0.05
"""Seconds.  Envoy fills a bucket at most 20 times a second."""

Interval = Annotated[Duration, Field(ge=_SHORTEST)]
HeaderName = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]
"""Narrow, because the name becomes a part of an Envoy command."""


class Rate(Strict):
    """So many in so much time."""

    num: Count
    """How many are admitted."""
    interval: Interval
    """In how much time; at least 50ms."""


class AddedHeaders(Strict):
    """Headers of the answer: ``set`` replaces, ``add`` appends."""

    set: tuple[HeaderValue, ...] = ()
    """Headers whose value is replaced."""
    add: tuple[HeaderValue, ...] = ()
    """Headers that are added to those of the same name."""

    def form(self) -> HeaderEdits:
        """Return the intermediate form."""
        return HeaderEdits(
            add=tuple((each.name, literal(each.value)) for each in self.add),
            set=tuple((each.name, literal(each.value)) for each in self.set),
        )


class OnRateLimit(Strict):
    """The answer to a request beyond the limit."""

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    """The HTTP status; 429 where nothing is said."""
    headers: AddedHeaders | None = None
    """Headers of the answer."""


class LocalHttp(Strict):
    """A limit of requests."""

    request_rate: Rate
    """How many requests are admitted."""
    burst: Count | None = None
    """How many requests are admitted at once after a pause; ``requestRate.num`` where unsaid."""
    per_caller: bool | None = None
    """Whether each calling service has a limit of its own."""
    on_rate_limit: OnRateLimit | None = None
    """The answer to a request beyond the limit."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.burst is not None and self.burst < self.request_rate.num:
            raise ValueError(
                f"burst {self.burst} is below requestRate.num {self.request_rate.num}: "
                "the rate could never be reached"
            )
        return self


class LocalTcp(Strict):
    """A limit of new connections."""

    connection_rate: Rate
    """How many connections are accepted; others are closed at once."""


class Local(Strict):
    """Limits that each proxy keeps for itself."""

    http: LocalHttp | None = None
    """Of requests; without effect on a tcp service."""
    tcp: LocalTcp | None = None
    """Of connections; in a rule without matches only."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.http is None and self.tcp is None:
            raise ValueError("says nothing: give http, tcp or both")
        return self


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
        route = replace(route, limit=_limit(conf.local.http))
    if conf.global_ is not None:
        route = replace(route, global_limits=(conf.global_.form(),))
    return route


def _on_inbound(conf: RateLimit, inbound: InboundTraffic, _: Protocol) -> InboundTraffic:
    if conf.local is None or conf.local.tcp is None:
        return inbound
    rate = conf.local.tcp.connection_rate
    return replace(inbound, connection_rate=TokenBucket(rate.num, rate.interval))


def _limit(http: LocalHttp) -> LocalLimit:
    rate = http.request_rate
    bucket = TokenBucket(rate.num, rate.interval, http.burst)
    limit = LocalLimit(bucket, per_caller=bool(http.per_caller))
    answer = http.on_rate_limit
    if answer is None:
        return limit
    return replace(
        limit,
        status=limit.status if answer.status is None else answer.status,
        response_headers=NO_EDITS if answer.headers is None else answer.headers.form(),
    )


def _check(spec: RateLimitSpec) -> Violations:
    for index, rule in enumerate(spec.rules):
        if rule.matches and rule.default.local is not None and rule.default.local.tcp is not None:
            yield (
                f"rules[{index}].default.local.tcp",
                "concerns connections: give it in a rule without matches",
            )


def _named(spec: RateLimitSpec, name: str) -> RateLimitSpec:
    """Give each global limit counters of its own unless it says with whom it shares them."""
    rules = []
    for index, rule in enumerate(spec.rules):
        limit = rule.default.global_
        if limit is None or limit.name is not None:
            rules.append(rule)
            continue
        # A given name holds no "/", so that it can never be taken for one of these.
        limit = limit.model_copy(update={"name": f"{name}/{index}"})
        default = rule.default.model_copy(update={"global_": limit})
        rules.append(rule.model_copy(update={"default": default}))
    return spec.model_copy(update={"rules": tuple(rules)})


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
