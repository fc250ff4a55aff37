"""Whether a real Envoy accepts what the caller's policies contribute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from mesh.envoy import balancing, probes, protection, routes
from mesh.envoy.cors import cors_filter
from mesh.envoy.proto import duration, typed
from mesh.model.destinations import Settings
from mesh.model.services import Protocol
from mesh.model.traffic import Route
from tests import realenvoy


def validated(
    tables: Sequence[Route], clusters: Iterable[tuple[Settings, Protocol]], directory: Path
) -> None:
    """Fail unless Envoy accepts a table of these routes, and clusters with these settings."""
    listener = listener_pb2.Listener(name="outbound")
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    listener.filter_chains.add().filters.append(_manager(tables))
    built = [_cluster(f"c{index}", *each) for index, each in enumerate(clusters)]
    realenvoy.validated(realenvoy.bootstrap([listener], built), directory)


def _cluster(name: str, settings: Settings, protocol: Protocol) -> Any:
    cluster = cluster_pb2.Cluster(name=name, connect_timeout=duration(settings.connect_timeout))
    balancing.balance(cluster, settings.balancing)
    if settings.limits is not None:
        protection.limit(cluster, settings.limits)
    if settings.outlier is not None:
        cluster.outlier_detection.CopyFrom(protection.outlier_detection(settings.outlier))
    if settings.probe is not None:
        cluster.health_checks.append(probes.health_check(settings.probe, protocol))
        if protocol in {Protocol.HTTP2, Protocol.GRPC}:
            cluster.http2_protocol_options.SetInParent()
    return cluster


def _manager(tables: Sequence[Route]) -> Any:
    manager = hcm_pb2.HttpConnectionManager(stat_prefix="outbound")
    manager.route_config.CopyFrom(routes.route_table("outbound", tables))
    manager.http_filters.append(cors_filter())
    manager.http_filters.add(
        name="envoy.filters.http.router", typed_config=typed(router_pb2.Router())
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=typed(manager)
    )
