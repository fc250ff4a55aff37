"""Clusters: an upstream service, and the application behind a proxy."""

from __future__ import annotations

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from mesh.envoy import tls
from mesh.envoy.endpoint import assignment_of
from mesh.envoy.proto import duration, typed
from mesh.envoy.tls import from_ads
from mesh.model.services import Protocol

_CONNECT_TIMEOUT: Final = 5.0
"""Seconds; Consul's default."""
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEEPALIVE_IDLE: Final = 30
"""Seconds after which a silent connection is probed, so that a vanished host is noticed."""
_KEEPALIVE_INTERVAL: Final = 5
_KEEPALIVE_PROBES: Final = 3


def by_discovery(
    name: str, *, protocol: Protocol, transport: base_pb2.TransportSocket
) -> cluster_pb2.Cluster:
    """Return a cluster whose endpoints come over ADS, dialled through ``transport``."""
    cluster = _cluster(name, protocol)
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(from_ads())
    cluster.transport_socket.CopyFrom(transport)
    options = cluster.upstream_connection_options.tcp_keepalive
    options.keepalive_time.value = _KEEPALIVE_IDLE
    options.keepalive_interval.value = _KEEPALIVE_INTERVAL
    options.keepalive_probes.value = _KEEPALIVE_PROBES
    return cluster


def of_address(name: str, *, address: str, port: int, protocol: Protocol) -> cluster_pb2.Cluster:
    """Return a cluster of one plain-text address."""
    cluster = _cluster(name, protocol)
    cluster.type = cluster_pb2.Cluster.STATIC
    cluster.load_assignment.CopyFrom(assignment_of(name, address, port))
    return cluster


def of_host(name: str, *, host: str, port: int, secure: bool) -> cluster_pb2.Cluster:
    """Return a cluster of a host outside the mesh, by DNS; ``secure`` by its public certificate."""
    cluster = _cluster(name, Protocol.HTTP)
    cluster.type = cluster_pb2.Cluster.STRICT_DNS
    cluster.load_assignment.CopyFrom(assignment_of(name, host, port))
    if secure:
        cluster.transport_socket.CopyFrom(tls.public(host))
    return cluster


def _cluster(name: str, protocol: Protocol) -> Any:
    cluster = cluster_pb2.Cluster(name=name, connect_timeout=duration(_CONNECT_TIMEOUT))
    if protocol.is_http:
        options = http_protocol_options_pb2.HttpProtocolOptions()
        explicit = options.explicit_http_config
        if protocol is Protocol.HTTP:
            explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
        else:
            explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
        cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(typed(options))
    return cluster
