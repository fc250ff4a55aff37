"""MeshTimeout: how long calls may take, on either side.

Source: Kuma's MeshTimeout; Envoy's "How do I configure timeouts?".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mesh.model.destinations import Settings
from mesh.model.inbound import InboundRoute, InboundTraffic
from mesh.model.requests import Timeouts
from mesh.model.services import Protocol
from mesh.model.traffic import Route
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import Strict, given
from mesh.policies.spec import ToAndRulesSpec
from mesh.policies.units import Duration


class Http(Strict):
    """Timeouts of requests."""

    request_timeout: Duration | None = None
    """From the first byte of a request to the last of its answer; 0 is for ever."""
    stream_idle_timeout: Duration | None = None
    """Without a byte in either direction."""


class Timeout(Strict):
    """The ``default`` of MeshTimeout."""

    connection_timeout: Duration | None = None
    """To establish a TCP connection, TLS included."""
    idle_timeout: Duration | None = None
    """Of a connection that carries nothing."""
    max_connection_duration: Duration | None = None
    """Of a connection, busy or not."""
    http: Http | None = None


_CONNECTIONS: Final = (
    "connectionTimeout and idleTimeout concern connections: give them in a rule without matches"
)

TimeoutSpec = ToAndRulesSpec[Timeout]


def _on_route(conf: Timeout, route: Route, protocol: Protocol) -> Route:
    if conf.http is None or not protocol.is_http:
        return route
    return replace(route, timeouts=_timeouts(conf.http, route.timeouts))


def _on_target(conf: Timeout, settings: Settings, _: Protocol) -> Settings:
    fields = given(
        connect_timeout=conf.connection_timeout,
        idle_timeout=conf.idle_timeout,
        max_duration=conf.max_connection_duration,
    )
    return replace(settings, **fields)


def _on_inbound_route(conf: Timeout, route: InboundRoute, protocol: Protocol) -> InboundRoute:
    if conf.http is None or not protocol.is_http:
        return route
    return replace(route, timeouts=_timeouts(conf.http, route.timeouts))


def _on_inbound(conf: Timeout, inbound: InboundTraffic, _: Protocol) -> InboundTraffic:
    fields = given(connect_timeout=conf.connection_timeout, idle_timeout=conf.idle_timeout)
    return replace(inbound, **fields)


def _timeouts(http: Http, before: Timeouts) -> Timeouts:
    return Timeouts(
        request=before.request if http.request_timeout is None else http.request_timeout,
        idle=before.idle if http.stream_idle_timeout is None else http.stream_idle_timeout,
    )


def _check(spec: TimeoutSpec) -> Violations:
    for index, rule in enumerate(spec.rules):
        connection = rule.default.connection_timeout, rule.default.idle_timeout
        if rule.default.max_connection_duration is not None:
            yield f"rules[{index}].default.maxConnectionDuration", "applies in `to` only"
        if rule.matches and any(value is not None for value in connection):
            yield f"rules[{index}].default", _CONNECTIONS


KIND: Final = Kind(
    name="MeshTimeout",
    summary="How long connections and requests may take, on either side.",
    conf=Timeout,
    spec=TimeoutSpec,
    on_route=_on_route,
    on_target=_on_target,
    on_inbound_route=_on_inbound_route,
    on_inbound=_on_inbound,
    check=_check,
    example="""\
type: MeshTimeout
name: slow-reports
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: reports}
      default:
        connectionTimeout: 2s
        http:
          requestTimeout: 60s
          streamIdleTimeout: 30s
""",
)
