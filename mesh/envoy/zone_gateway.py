"""The listener of a zone's gateway: TLS that is looked at and never ended.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/sni_cluster_filter
"""

from __future__ import annotations

from typing import Final

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2

from mesh.envoy import listener
from mesh.envoy.cluster import NOBODY
from mesh.envoy.proto import duration, typed
from mesh.model.identity import ZoneId
from mesh.model.names import sni

_LISTENER: Final = "inbound"
"""As with every proxy: whoever waits for it, or drains it, need not know of gateways."""
_GATEWAY: Final = "gateway"
_PEERING: Final = "peering"
_PATIENCE: Final = 5.0
"""Seconds that a caller has to say whom it wants."""
_ATTEMPTS: Final = 3
"""How many instances are dialled before a caller is sent away."""


def gateway_listener(
    address: str, port: int, *, zone: str, trust_domain: str, control_plane: str = ""
) -> listener_pb2.Listener:
    """Return the listener that sends connections to the cluster named as they ask.

    Only names of services of ``zone`` are looked up: no other cluster of the proxy can be asked
    for.  With a ``control_plane``, which is a cluster's name, those who ask for the peering with
    the zone are sent there; there is no way through here to the rest of its API.
    """
    result = listener_pb2.Listener(
        name=_LISTENER,
        address=listener.socket_address(address, port),
        traffic_direction=listener.TrafficDirection.INBOUND,
    )
    result.per_connection_buffer_limit_bytes.value = listener.BUFFER_LIMIT
    result.listener_filters_timeout.CopyFrom(duration(_PATIENCE))
    result.listener_filters.add(
        name="envoy.filters.listener.tls_inspector",
        typed_config=typed(tls_inspector_pb2.TlsInspector()),
    )
    chain = result.filter_chains.add()
    chain.filter_chain_match.server_names.append(sni("*", zone, trust_domain))
    chain.filters.add(
        name="envoy.filters.network.sni_cluster", typed_config=typed(sni_cluster_pb2.SniCluster())
    )
    why = f"is no service of zone {zone} that others may call, or nobody answers for it"
    forward = listener.tcp_proxy(
        _GATEWAY, NOBODY, attempts=_ATTEMPTS, log_format=_line(why), log_failures_only=True
    )
    chain.filters.append(forward)
    if control_plane:
        asked = ZoneId(trust_domain, zone).peering_name()
        peering = result.filter_chains.add()
        peering.filter_chain_match.server_names.extend([asked, f"*.{asked}"])
        peering.filters.append(listener.tcp_proxy(_PEERING, control_plane, attempts=_ATTEMPTS))
    other = _line(f"is not for zone {zone}")
    result.default_filter_chain.filters.append(
        listener.tcp_proxy(_GATEWAY, NOBODY, log_format=other)
    )
    return result


def _line(why: str) -> str:
    return (
        "[%START_TIME%] refused: mesh: gateway: the name %REQUESTED_SERVER_NAME% that "
        f"%DOWNSTREAM_REMOTE_ADDRESS% asks for {why} (%RESPONSE_FLAGS%)\n"
    )
