"""Failures made on purpose: aborts, delays, slow answers.

One filter does all three; it slows each answer for itself.  (Envoy's ``bandwidth_limit`` filter
would slow all answers of a route together, and cannot spare a share of them.)

Source: ``envoy.extensions.filters.http.fault.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2

from mesh.envoy.filters.parts import Named, fraction
from mesh.envoy.proto import duration
from mesh.model.inbound import Fault, InboundRoute

FAULT: Final = "inbound-fault"
"""Name of the filter."""


def filters(routes: Sequence[InboundRoute]) -> Iterator[Named]:
    """Yield the filter if one of ``routes`` has a fault."""
    if any(route.fault is not None for route in routes):
        yield FAULT, fault_pb2.HTTPFault()


def on_route(route: InboundRoute) -> Iterator[Named]:
    """Yield what ``route`` says to the filter."""
    if route.fault is not None:
        yield FAULT, _fault(route.fault)


def _fault(fault: Fault) -> Any:
    result = fault_pb2.HTTPFault()
    if fault.abort is not None:
        result.abort.percentage.CopyFrom(fraction(fault.abort.percent))
        if fault.abort.grpc_status is None:
            result.abort.http_status = fault.abort.status
        else:
            result.abort.grpc_status = fault.abort.grpc_status
    if fault.delay is not None and fault.delay.seconds > 0:
        result.delay.percentage.CopyFrom(fraction(fault.delay.percent))
        result.delay.fixed_delay.CopyFrom(duration(fault.delay.seconds))
    if fault.bandwidth is not None:
        limit = common_pb2.FaultRateLimit.FixedLimit(limit_kbps=fault.bandwidth)
        result.response_rate_limit.fixed_limit.CopyFrom(limit)
        result.response_rate_limit.percentage.CopyFrom(fraction(fault.bandwidth_percent))
    return result
