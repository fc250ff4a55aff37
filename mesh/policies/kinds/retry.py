"""MeshRetry: which failed calls are tried again, and how much of the load that may be.

What a document leaves unsaid about retries is taken from the route, or else from the table of
defaults (``policies.defaults``), whose conditions are safe for every method.

Source: Kuma's MeshRetry; Envoy's documentation of the router filter (x-envoy-retry-on).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from mesh.model.destinations import Limits, Settings
from mesh.model.services import Protocol
from mesh.model.traffic import Retry, Route
from mesh.policies.defaults import RETRY
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import Strict
from mesh.policies.spec import ToSpec
from mesh.policies.units import Count, Duration, Percent, PositiveDuration

_TRANSPORT: Final[dict[str, str]] = {
    "Reset": "reset",
    "ResetBeforeRequest": "reset-before-request",
    "ConnectFailure": "connect-failure",
    "RefusedStream": "refused-stream",
}
_HTTP: Final[dict[str, str]] = {
    "5XX": "5xx",
    "GatewayError": "gateway-error",
    "Retriable4xx": "retriable-4xx",
    "EnvoyRatelimited": "envoy-ratelimited",
    "Http3PostConnectFailure": "http3-post-connect-failure",
    **_TRANSPORT,
}
_GRPC: Final[dict[str, str]] = {
    "Cancelled": "cancelled",
    "DeadlineExceeded": "deadline-exceeded",
    "Internal": "internal",
    "ResourceExhausted": "resource-exhausted",
    "Unavailable": "unavailable",
    **_TRANSPORT,
}
_METHODS: Final[dict[str, str]] = {
    f"HttpMethod{method.capitalize()}": method
    for method in ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
}
_BY_STATUS: Final = "retriable-status-codes"


def _http_condition(value: object) -> object:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in range(400, 600):
            raise ValueError(f"{value} is no status of a failure: 400 to 599")
        return str(value)
    return _one_of(value, _HTTP | _METHODS, ", or a status")


def _grpc_condition(value: object) -> object:
    return _one_of(value, _GRPC, "")


def _one_of(value: object, known: Mapping[str, str], more: str) -> object:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(known)}{more}")
    return value


HttpCondition = Annotated[str, BeforeValidator(_http_condition, json_schema_input_type=str | int)]
"""A condition's name, a status, or a method."""
GrpcCondition = Annotated[str, BeforeValidator(_grpc_condition, json_schema_input_type=str)]
"""A condition's or a gRPC status's name."""


class Tcp(Strict):
    """Retries of connections."""

    max_connect_attempts: Count | None = None
    """How often to try to connect, the first time included."""


class BackOff(Strict):
    """The pause before a retry: random, and longer each time."""

    base_interval: PositiveDuration | None = None
    """The pause before the first retry, at most."""
    max_interval: PositiveDuration | None = None
    """The longest pause."""


class Budget(Strict):
    """How many retries may be under way at a time."""

    percent: Percent | None = None
    """Of the active requests."""
    min_concurrency: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """So many are allowed in any case."""


class HostSelection(Strict):
    """What a retry avoids."""

    predicate: Literal["OmitPreviousHosts"]
    """Instances that were tried before."""


class Requests(Strict):
    """What retries of HTTP and of gRPC have in common."""

    num_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    """How often to try again; 0 is never."""
    per_try_timeout: Duration | None = None
    """How long one try may take; 0 is as long as the request may."""
    back_off: BackOff | None = None
    """How long to wait before trying again."""
    host_selection: tuple[HostSelection, ...] | None = None
    """Which instance is tried next; an empty list is any."""
    budget: Budget | None = None
    """How many retries may be under way at a time, for all requests to the service together."""


class Http(Requests):
    """Retries of HTTP requests."""

    retry_on: tuple[HttpCondition, ...] | None = None
    """Conditions (`5XX`, `GatewayError`, `Reset`, `ResetBeforeRequest`, `Retriable4xx`,
    `ConnectFailure`, `RefusedStream`, `EnvoyRatelimited`, `Http3PostConnectFailure`), statuses
    (`429`), and methods (`HttpMethodGet`): with methods, no other is tried again."""


class Grpc(Requests):
    """Retries of gRPC calls."""

    retry_on: tuple[GrpcCondition, ...] | None = None
    """Statuses (`Cancelled`, `DeadlineExceeded`, `Internal`, `ResourceExhausted`,
    `Unavailable`) and conditions (`Reset`, `ResetBeforeRequest`, `ConnectFailure`,
    `RefusedStream`)."""


class RetryConf(Strict):
    """The ``default`` of MeshRetry."""

    tcp: Tcp | None = None
    """For services that speak tcp."""
    http: Http | None = None
    """For services that speak http or http2."""
    grpc: Grpc | None = None
    """For services that speak grpc."""


RetrySpec = ToSpec[RetryConf]


def _on_route(conf: RetryConf, route: Route, protocol: Protocol) -> Route:
    said = _requests(conf, protocol)
    if said is None:
        return route
    retry = replace(route.retry or RETRY, **_plain(said))
    if said.retry_on is not None:
        retry = replace(retry, **_conditions(said.retry_on, retry))
    if retry.attempts == 0:
        # Said, and so not None, which would bring the default back.
        retry = Retry(attempts=0, on=())
    return replace(route, retry=retry)


def _plain(said: Requests) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if said.num_retries is not None:
        fields["attempts"] = said.num_retries
    if said.per_try_timeout is not None:
        fields["per_try"] = said.per_try_timeout or None
    if said.host_selection is not None:
        fields["other_hosts"] = bool(said.host_selection)
    if said.back_off is not None and said.back_off.base_interval is not None:
        fields["backoff_base"] = said.back_off.base_interval
    if said.back_off is not None and said.back_off.max_interval is not None:
        fields["backoff_max"] = said.back_off.max_interval
    return fields


def _conditions(said: tuple[str, ...], before: Retry) -> dict[str, Any]:
    statuses = tuple(int(each) for each in said if each.isdecimal())
    named = _HTTP | _GRPC
    on = tuple(named[each] for each in said if each in named)
    fields: dict[str, Any] = {"methods": tuple(_METHODS[one] for one in said if one in _METHODS)}
    if fields["methods"] and not on and not statuses:
        return fields | {"on": before.on, "statuses": before.statuses}
    on = (*on, _BY_STATUS) if statuses else on
    return fields | {"on": tuple(dict.fromkeys(on)), "statuses": tuple(dict.fromkeys(statuses))}


def _on_target(conf: RetryConf, settings: Settings, protocol: Protocol) -> Settings:
    if protocol is Protocol.TCP:
        if conf.tcp is None or conf.tcp.max_connect_attempts is None:
            return settings
        return replace(settings, connect_attempts=conf.tcp.max_connect_attempts)
    said = _requests(conf, protocol)
    if said is None or said.budget is None:
        return settings
    limits = settings.limits or Limits()
    if said.budget.percent is not None:
        limits = replace(limits, retry_budget=said.budget.percent)
    if said.budget.min_concurrency is not None:
        limits = replace(limits, min_retries=said.budget.min_concurrency)
    return replace(settings, limits=limits)


def _requests(conf: RetryConf, protocol: Protocol) -> Http | Grpc | None:
    if protocol is Protocol.GRPC:
        return conf.grpc
    return conf.http if protocol.is_http else None


def _check(spec: RetrySpec) -> Violations:
    for index, to in enumerate(spec.to):
        for name, said in (("http", to.default.http), ("grpc", to.default.grpc)):
            pace = said.back_off if said else None
            if pace is None or pace.base_interval is None or pace.max_interval is None:
                continue
            if pace.base_interval > pace.max_interval:
                place = f"to[{index}].default.{name}.backOff"
                yield place, "baseInterval is longer than maxInterval"


KIND: Final = Kind(
    name="MeshRetry",
    summary="Which failed calls are tried again, how often, and how much load that may make.",
    conf=RetryConf,
    spec=RetrySpec,
    on_route=_on_route,
    on_target=_on_target,
    check=_check,
    example="""\
type: MeshRetry
name: api-reads
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      default:
        tcp: {maxConnectAttempts: 3}
        http:
          numRetries: 3
          perTryTimeout: 2s
          retryOn: [GatewayError, ConnectFailure, RefusedStream, 429, HttpMethodGet]
          backOff: {baseInterval: 50ms, maxInterval: 1s}
          budget: {percent: 20, minConcurrency: 5}
        grpc:
          numRetries: 2
          retryOn: [Unavailable, ResourceExhausted]
""",
)
