"""MeshFaultInjection: failures made on purpose, to learn how callers bear them.

Source: Kuma's MeshFaultInjection; Envoy's ``envoy.extensions.filters.http.fault.v3``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from mesh.model.inbound import Abort, Delay, Fault, InboundRoute
from mesh.model.services import Protocol
from mesh.policies.kind import Kind
from mesh.policies.shape import Strict
from mesh.policies.spec import RulesSpec
from mesh.policies.units import Duration, Percent

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(kbps|mbps|gbps)", re.IGNORECASE)
_BITS: Final = {"kbps": 1e3, "mbps": 1e6, "gbps": 1e9}
_BITS_PER_KIB: Final = 8 * 1024
_LEAST: Final = 8e3
_MOST: Final = 1e12


def _bandwidth(value: object) -> object:
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a bandwidth: write 50kbps, 1.5mbps or 1gbps")
    bits = float(found[1]) * _BITS[found[2].lower()]
    if not _LEAST <= bits <= _MOST:
        raise ValueError(f"{value!r} is not between 8kbps and 1000gbps")
    return max(1, round(bits / _BITS_PER_KIB))


Bandwidth = Annotated[int, BeforeValidator(_bandwidth, json_schema_input_type=str)]
"""KiB/s, Envoy's unit; written in bits per second, as networks are."""


class AbortModel(Strict):
    """Answer in the service's place: with either an HTTP or a gRPC status."""

    http_status: Annotated[int, Field(ge=200, le=599)] | None = None
    """The HTTP status of the answer."""
    grpc_status: Annotated[int, Field(ge=1, le=16)] | None = None
    """The gRPC status of the answer, such as 14 (UNAVAILABLE)."""
    percentage: Percent
    """Of the requests, 0 to 100."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.http_status is None) == (self.grpc_status is None):
            raise ValueError("takes either httpStatus or grpcStatus")
        return self

    def form(self) -> Abort:
        """Return the intermediate form."""
        if self.http_status is None:
            return Abort(self.percentage, grpc_status=self.grpc_status)
        return Abort(self.percentage, self.http_status)


class DelayModel(Strict):
    """Hold requests back."""

    value: Annotated[Duration, Field(gt=0)]
    """For how long."""
    percentage: Percent
    """Of the requests, 0 to 100."""


class BandwidthModel(Strict):
    """Slow answers down."""

    limit: Bandwidth
    """Bits per second: 50kbps, 1mbps; rounded to 1 KiB/s, and at least 8kbps."""
    percentage: Percent
    """Of the requests, 0 to 100."""


class Http(Strict):
    """Faults of HTTP and gRPC requests."""

    abort: AbortModel | None = None
    """Answer in the service's place."""
    delay: DelayModel | None = None
    """Hold requests back before they go on."""
    response_bandwidth: BandwidthModel | None = None
    """Slow answers down."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.abort is None and self.delay is None and self.response_bandwidth is None:
            raise ValueError("says nothing: give abort, delay or responseBandwidth")
        return self

    def form(self) -> Fault:
        """Return the intermediate form."""
        fault = Fault(
            abort=self.abort.form() if self.abort else None,
            delay=Delay(self.delay.percentage, self.delay.value) if self.delay else None,
        )
        slow = self.response_bandwidth
        if slow is None:
            return fault
        return replace(fault, bandwidth=slow.limit, bandwidth_percent=slow.percentage)


class FaultInjection(Strict):
    """The ``default`` of MeshFaultInjection."""

    http: Http
    """Faults of requests; without effect on a tcp service."""


FaultInjectionSpec = RulesSpec[FaultInjection]


def _on_inbound_route(
    conf: FaultInjection, route: InboundRoute, protocol: Protocol
) -> InboundRoute:
    return replace(route, fault=conf.http.form()) if protocol.is_http else route


KIND: Final = Kind(
    name="MeshFaultInjection",
    summary="Failures made on purpose: aborted, delayed and slow answers.",
    conf=FaultInjection,
    spec=FaultInjectionSpec,
    on_inbound_route=_on_inbound_route,
    example="""\
type: MeshFaultInjection
name: api-game-day
spec:
  targetRef:
    kind: Dataplane
    labels: {service: api}
  rules:
    - matches:
        - source: {service: web}
          headers:
            - {name: x-game-day, value: "on"}
      default:
        http:
          abort: {httpStatus: 503, percentage: 10}
          delay: {value: 250ms, percentage: 50}
          responseBandwidth: {limit: 1mbps, percentage: 5}
""",
)
