"""What gateways share that are asked for services by name (SNI), in TLS that they do not end.

A cluster is called as callers ask for it.  Envoy looks at names in small letters, as of hosts, and
so the cluster's is written: of two services that differ in capitals only, one can be asked for.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/sni_cluster_filter
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2

from mesh.envoy import listener
from mesh.envoy.cluster import NOBODY
from mesh.envoy.proto import typed
from mesh.model.identity import WorkloadId

ATTEMPTS: Final = 3
"""How many instances are dialled before a caller is sent away."""
_PATIENCE: Final = 5.0
"""Seconds that a caller has to say whom it wants."""


def asked(who: WorkloadId, subset: str = "") -> str:
    """Return the name by which ``who``, or a subset of its instances, is asked for."""
    return who.server_name(subset).lower()


def gateway_listener(
    address: str, port: int, direction: base_pb2.TrafficDirection
) -> listener_pb2.Listener:
    """Return a listener without filter chains, which are to match names."""
    result = listener_pb2.Listener(
        name=listener.INBOUND,
        address=listener.socket_address(address, port),
        traffic_direction=direction,
    )
    result.per_connection_buffer_limit_bytes.value = listener.BUFFER_LIMIT
    listener.inspect_tls(result, patience=_PATIENCE)
    return result


def forward_by_name(
    built: listener_pb2.Listener,
    hosts: Sequence[str],
    stat_prefix: str,
    log: str,
    *,
    name: str = "",
) -> None:
    """Add to ``built`` the filter chain ``name``, which sends ``hosts`` to the clusters so called.

    Where there is no such cluster, or nobody answers, the connection ends with ``log`` on stdout.
    """
    chain = built.filter_chains.add(name=name)
    chain.filter_chain_match.server_names.extend(hosts)
    chain.filters.add(
        name="envoy.filters.network.sni_cluster", typed_config=typed(sni_cluster_pb2.SniCluster())
    )
    forward = listener.tcp_proxy(
        stat_prefix, NOBODY, attempts=ATTEMPTS, log_format=log, log_failures_only=True
    )
    chain.filters.append(forward)
