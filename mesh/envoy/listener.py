"""Listeners, and the TCP half of what they may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import (
    address_pb2,
    base_pb2,
    config_source_pb2,
    extension_pb2,
    substitution_format_string_pb2,
)
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from mesh.envoy.proto import duration, typed
from mesh.envoy.tls import from_ads

TrafficDirection = base_pb2.TrafficDirection

INBOUND: Final = "inbound"
"""The listener that every proxy has: whoever waits for it, or drains it, need not know more."""
BUFFER_LIMIT: Final = 262_144
"""Bytes a connection may buffer; Envoy's own default of 1 MiB invites memory exhaustion."""

_HANDSHAKE_FAILED: Final = (
    "[%START_TIME%] refused: mesh: the handshake of %DOWNSTREAM_REMOTE_ADDRESS%, who says to be "
    "%DOWNSTREAM_PEER_URI_SAN%: %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"
)
_NOT_FORWARDED: Final = ("NC", "UH", "UF", "URX")
"""Envoy's flags: no such cluster, nobody healthy, nobody reached, tried too often."""
_EARLY_DATA: Final = 16_384
"""Bytes taken from a peer before its upstream is connected."""


def listener(
    name: str,
    *,
    address: str,
    port: int,
    filters: Sequence[listener_components_pb2.Filter],
    direction: base_pb2.TrafficDirection,
    transport: base_pb2.TransportSocket | None = None,
) -> listener_pb2.Listener:
    """Return a listener with one filter chain.

    With a ``transport`` each handshake that fails leaves a line on stdout: who is turned away there
    reaches no filter that could tell.
    """
    chain = listener_components_pb2.FilterChain(filters=filters)
    if transport is not None:
        chain.transport_socket.CopyFrom(transport)
    result = listener_pb2.Listener(
        name=name,
        address=socket_address(address, port),
        filter_chains=[chain],
        traffic_direction=direction,
    )
    result.per_connection_buffer_limit_bytes.value = BUFFER_LIMIT
    if transport is not None:
        log = result.access_log.add()
        log.CopyFrom(stdout(_HANDSHAKE_FAILED))
        log.filter.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
        log.filter.extension_filter.typed_config.CopyFrom(
            typed(cel_pb2.ExpressionFilter(expression="connection.transport_failure_reason != ''"))
        )
    return result


def socket_address(address: str, port: int) -> address_pb2.Address:
    """Return a TCP address."""
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(address=address, port_value=port)
    )


def inspect_tls(built: listener_pb2.Listener, *, patience: float) -> None:
    """Have ``built`` look at what a peer says first, for at most ``patience`` seconds."""
    built.listener_filters.add(
        name="envoy.filters.listener.tls_inspector",
        typed_config=typed(tls_inspector_pb2.TlsInspector()),
    )
    built.listener_filters_timeout.CopyFrom(duration(patience))


def tcp_proxy(
    stat_prefix: str,
    cluster: str | Sequence[tuple[str, int]],
    *,
    after_handshake: bool = False,
    log_format: str = "",
    log_failures_only: bool = False,
    idle_timeout: float = 0,
    max_duration: float | None = None,
    attempts: int | None = None,
    by_source: bool = False,
) -> listener_components_pb2.Filter:
    """Forward bytes to ``cluster``: one, or several with their weights.

    A connection may idle for ever, as the protocol wishes, unless there is an ``idle_timeout``;
    after ``max_duration`` it ends (None and 0: never).  An upstream that does not answer is
    dialled again, ``attempts`` times in all.  With ``after_handshake`` it is dialled only when
    the peer is known.  ``by_source`` hashes the address of whoever connects.  A ``log_format``
    writes one line on stdout for each connection, or for each that was not forwarded.
    """
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix, idle_timeout=duration(idle_timeout))
    if isinstance(cluster, str):
        proxy.cluster = cluster
    else:
        for name, weight in cluster:
            # Envoy refuses a weight of 0.
            if weight:
                proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if max_duration:
        proxy.max_downstream_connection_duration.CopyFrom(duration(max_duration))
    if attempts is not None:
        proxy.max_connect_attempts.value = attempts
    if by_source:
        proxy.hash_policy.add().source_ip.SetInParent()
    if after_handshake:
        proxy.upstream_connect_mode = tcp_proxy_pb2.UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE
        # What comes before the upstream is there waits, and then the peer must wait too.
        proxy.max_early_data_bytes.value = _EARLY_DATA
    if log_format:
        log = stdout(log_format)
        if log_failures_only:
            log.filter.response_flag_filter.flags.extend(_NOT_FORWARDED)
        proxy.access_log.append(log)
    return listener_components_pb2.Filter(
        name="envoy.filters.network.tcp_proxy", typed_config=typed(proxy)
    )


def discovered_filter(name: str, type_url: str) -> listener_components_pb2.Filter:
    """Return a network filter whose configuration arrives over ADS and changes without a drain."""
    return listener_components_pb2.Filter(name=name, config_discovery=discovery(type_url))


def discovery(type_url: str) -> config_source_pb2.ExtensionConfigSource:
    """Return where an extension's configuration of type ``type_url`` comes from: ADS."""
    return config_source_pb2.ExtensionConfigSource(config_source=from_ads(), type_urls=[type_url])


def extension(name: str, config: Any) -> extension_pb2.TypedExtensionConfig:
    """Return what :func:`discovery` fetches: ``config`` (a protobuf message) under ``name``."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=typed(config))


def stdout(log_format: str) -> accesslog_pb2.AccessLog:
    """Return a log of one line on stdout for each connection, in ``log_format``."""
    line = substitution_format_string_pb2.SubstitutionFormatString()
    line.text_format_source.inline_string = log_format
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=typed(stream_pb2.StdoutAccessLog(log_format=line)),
    )
