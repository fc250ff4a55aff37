"""What one xDS resource refers to, found by walking it: endpoints, routes, filters, secrets.

A fleet sees the same content a thousand times, so the answer is remembered per content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

from mesh.envoy.resource import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE, SECRET, TYPE_PREFIX

Reference = tuple[str, str]
"""A type URL and a name."""

_KNOWN: Final[dict[str, Any]] = {
    TYPE_PREFIX + known.DESCRIPTOR.full_name: known
    for known in (
        cluster_pb2.Cluster,
        endpoint_pb2.ClusterLoadAssignment,
        listener_pb2.Listener,
        route_pb2.RouteConfiguration,
        http_connection_manager_pb2.HttpConnectionManager,
        tls_pb2.UpstreamTlsContext,
        tls_pb2.DownstreamTlsContext,
    )
}
_WALKED: Final = frozenset({CLUSTER, LISTENER})


class _Seen:
    """Bytes that are equal to others of the same name and version."""

    __slots__ = ("key", "packed")

    def __init__(self, key: tuple[str, str, str], packed: Packed) -> None:
        self.key = key
        self.packed = packed

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Seen) and self.key == other.key


def references(type_url: str, name: str, version: str, packed: Packed) -> frozenset[Reference]:
    """Return what a resource makes its proxy subscribe to by ADS."""
    if type_url not in _WALKED:
        return frozenset()
    return _found(_Seen((type_url, name, version), packed))


@cache
def _found(seen: _Seen) -> frozenset[Reference]:
    return frozenset(_walk(seen.packed))


def _walk(message: Message) -> Iterator[Reference]:
    if isinstance(message, Packed):
        known = _KNOWN.get(message.type_url)
        if known is not None:
            yield from _walk(known.FromString(message.value))
        return
    yield from _own(message)
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if field.is_repeated:
            for one in value.values() if isinstance(value, Mapping) else value:
                if isinstance(one, Message):
                    yield from _walk(one)
        else:
            yield from _walk(value)


def _own(message: Any) -> Iterator[Reference]:
    match message.DESCRIPTOR.full_name.rpartition(".")[2]:
        case "Cluster" if message.HasField("eds_cluster_config"):
            if _by_ads(message.eds_cluster_config.eds_config):
                yield ENDPOINTS, message.eds_cluster_config.service_name or message.name
        case "Rds" if _by_ads(message.config_source):
            yield ROUTE, message.route_config_name
        case "Filter" | "HttpFilter" if message.HasField("config_discovery"):
            if _by_ads(message.config_discovery.config_source):
                yield EXTENSION, message.name
        case "SdsSecretConfig" if _by_ads(message.sds_config):
            yield SECRET, message.name


def _by_ads(source: config_source_pb2.ConfigSource) -> bool:
    return bool(source.HasField("ads"))
