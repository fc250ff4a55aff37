"""MeshHealthCheck: callers' proxies ask the instances themselves how they are.

Consul's checks need no such policy; this one is for what only a caller can see.  What is asked
(``probe``) is one choice, which a more specific document makes anew.  What no document says is
Kuma's default: every ``INTERVAL``, within ``TIMEOUT``, out after ``UNHEALTHY`` failures, back
after ``HEALTHY`` successes; without a ``probe`` it is a TCP connection.

Source: Kuma's MeshHealthCheck; Envoy's documentation of health checking.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mesh.model.destinations import Probe, ProbeKind, Settings
from mesh.model.requests import NO_EDITS
from mesh.model.services import Protocol
from mesh.policies.kind import Kind
from mesh.policies.shape import Strict, given
from mesh.policies.spec import ToSpec
from mesh.policies.units import Count, HeaderModifier, Hostname, PositiveDuration

INTERVAL: Final = 60.0
TIMEOUT: Final = 15.0
UNHEALTHY: Final = 5
HEALTHY: Final = 1

_UNSAID: Final = Probe(
    kind=ProbeKind.TCP,
    interval=INTERVAL,
    timeout=TIMEOUT,
    unhealthy=UNHEALTHY,
    healthy=HEALTHY,
)


class TcpProbe(Strict):
    """Healthy is who accepts a connection."""

    type: Literal["Tcp"]
    """What is asked."""

    def fields(self) -> dict[str, Any]:
        """Return what it sets of a probe."""
        return {"kind": ProbeKind.TCP}


class HttpProbe(Strict):
    """Healthy is who answers a GET as expected."""

    type: Literal["Http"]
    """What is asked."""
    path: Annotated[str, Field(pattern=r"^/[^#\s]*$")] | None = None
    """The path, `/` if absent; it may have a query."""
    host: Hostname | None = None
    """The `Host`; absent, it is the name of the service."""
    expected_statuses: tuple[Annotated[int, Field(ge=100, le=599)], ...] | None = None
    """The statuses of who is healthy, 200 if absent."""
    request_headers_to_add: HeaderModifier | None = None
    """Changes to the headers of the request."""

    def fields(self) -> dict[str, Any]:
        """Return what it sets of a probe."""
        edits = self.request_headers_to_add
        return {
            "kind": ProbeKind.HTTP,
            "path": self.path or "/",
            "host": self.host or "",
            "expected": tuple(dict.fromkeys(self.expected_statuses or ())),
            "request_headers": edits.form() if edits else NO_EDITS,
        }


class GrpcProbe(Strict):
    """Healthy is who says so by gRPC's health checking protocol."""

    type: Literal["Grpc"]
    """What is asked."""
    service_name: str | None = None
    """The service in the request; absent, it is the server as a whole."""

    def fields(self) -> dict[str, Any]:
        """Return what it sets of a probe."""
        return {"kind": ProbeKind.GRPC, "service": self.service_name or ""}


ProbeModel = Annotated[TcpProbe | HttpProbe | GrpcProbe, Field(discriminator="type")]


class HealthCheck(Strict):
    """The ``default`` of MeshHealthCheck."""

    disabled: bool | None = None
    """Switches these checks off."""
    interval: PositiveDuration | None = None
    """Between two checks of an instance."""
    timeout: PositiveDuration | None = None
    """Within which an instance must answer."""
    unhealthy_threshold: Count | None = None
    """So many failures in a row, and an instance gets no calls."""
    healthy_threshold: Count | None = None
    """So many successes in a row, and it gets calls again."""
    interval_jitter_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """How much longer, at random, an interval may be, so that callers do not ask in step."""
    reuse_connection: bool | None = None
    """Whether the connection stays open between checks."""
    probe: ProbeModel | None = None
    """What is asked; absent, a TCP connection is enough."""


HealthCheckSpec = ToSpec[HealthCheck]


def _on_target(conf: HealthCheck, settings: Settings, _: Protocol) -> Settings:
    if conf.disabled:
        return replace(settings, probe=None)
    fields = given(
        interval=conf.interval,
        timeout=conf.timeout,
        unhealthy=conf.unhealthy_threshold,
        healthy=conf.healthy_threshold,
        jitter_percent=conf.interval_jitter_percent,
        reuse_connection=conf.reuse_connection,
    )
    if conf.probe is not None:
        fields |= conf.probe.fields()
    return replace(settings, probe=replace(settings.probe or _UNSAID, **fields))


KIND: Final = Kind(
    name="MeshHealthCheck",
    summary="How callers' proxies themselves ask whether an instance is well.",
    conf=HealthCheck,
    spec=HealthCheckSpec,
    on_target=_on_target,
    example="""\
type: MeshHealthCheck
name: api-health
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      default:
        interval: 10s
        timeout: 2s
        unhealthyThreshold: 3
        healthyThreshold: 1
        intervalJitterPercent: 20
        probe:
          type: Http
          path: /healthz
          expectedStatuses: [200, 204]
""",
)
