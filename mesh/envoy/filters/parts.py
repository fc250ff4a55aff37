"""What the filters' modules share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final, TypeVar

from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.v3 import percent_pb2

Named = tuple[str, Any]
"""A filter's name in the connection manager, and a protobuf message for it."""

_MILLIONTHS_PER_PERCENT: Final = 10_000

_T = TypeVar("_T", bound=Hashable)


def turned_on() -> Any:
    """Return what a route says to a filter that it needs as it is."""
    result = route_components_pb2.FilterConfig()
    result.config.SetInParent()
    return result


def fraction(percent: float) -> Any:
    """Return ``percent`` (0 to 100) as Envoy draws it."""
    return percent_pb2.FractionalPercent(
        numerator=round(percent * _MILLIONTHS_PER_PERCENT),
        denominator=percent_pb2.FractionalPercent.MILLION,
    )


def always() -> Any:
    """Return the runtime fraction that every request is part of."""
    return base_pb2.RuntimeFractionalPercent(default_value=fraction(100))


def grpc_service(cluster: str) -> Any:
    """Return the gRPC service that ``cluster`` reaches."""
    result = grpc_service_pb2.GrpcService()
    result.envoy_grpc.cluster_name = cluster
    return result


def grouped(prefix: str, wanted: Iterable[tuple[str, _T]]) -> dict[_T, str]:
    """Return a filter's name for each different wish, given what it is called for short.

    Those with one short name are numbered, and differ in details: a proxy that has only half
    of a new order asks the right service, in the manner of another route, until the other half
    has arrived.
    """
    result: dict[_T, str] = {}
    counts: dict[str, int] = {}
    for short, wish in wanted:
        if wish not in result:
            counts[short] = number = counts.get(short, 0) + 1
            result[wish] = f"{prefix}:{number}:{short}"
    return result
