"""The capture listener: where connections arrive that the application made to somebody else.

They were redirected to it; the kernel knows where they wanted to go.  What passes goes on to just
there, unchanged, and the rest ends at once with a line in the log.  A connection is looked into
only where something turns on what is spoken: which name TLS asks for, which host HTTP does.

A direct connection to the listener wants to go to the listener: it is refused, as Envoy would go on
calling itself until it has no file left.  A listener on every address has to refuse its port at
every address.  Redirects are expected to leave alone what the proxy itself sends, and what goes to
loopback addresses, where upstreams are dialled.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from mesh.envoy import cluster, http, listener
from mesh.envoy.passing import EVERYWHERE, Block, Passage, passages
from mesh.envoy.proto import duration, typed
from mesh.model.passthrough import HostProtocol, Passthrough, PassthroughMode

CAPTURE: Final = "capture"
"""The listener's name."""
PASSTHROUGH: Final = "capture:passthrough"
"""The cluster of everybody outside; no service can be called so."""

_PATIENCE: Final = 1.0
"""Seconds in which the first bytes must come, where they are looked at."""
_HTTP1: Final = ("http/1.0", "http/1.1")
_HTTP2: Final = ("h2c",)
"""What Envoy's inspector calls HTTP in plain text."""
_SPOKEN: Final = {HostProtocol.HTTP: _HTTP1, HostProtocol.HTTP2: _HTTP2}


def capture_listener(
    service: str, address: str, port: int, passthrough: Passthrough
) -> listener_pb2.Listener:
    """Return the listener of proxies of ``service`` that lets through what ``passthrough`` says.

    On the IPv6 address ``::`` it serves connections by IPv4 as well.
    """
    result = listener_pb2.Listener(
        name=CAPTURE,
        address=listener.socket_address(address, port),
        traffic_direction=listener.TrafficDirection.OUTBOUND,
    )
    result.per_connection_buffer_limit_bytes.value = listener.BUFFER_LIMIT
    host = ipaddress.ip_address(address)
    if isinstance(host, ipaddress.IPv6Address) and host.is_unspecified:
        result.address.socket_address.ipv4_compat = True
    own = EVERYWHERE if host.is_unspecified else (ipaddress.ip_network(address),)
    _listener_filter(result, "original_dst", original_dst_pb2.OriginalDst())
    found: list[Passage] = []
    if passthrough.mode is PassthroughMode.MATCHED:
        found = list(passages(passthrough.matches, own_port=port, own=own))
        _inspect(result, found)
    if passthrough.mode is not PassthroughMode.NONE:
        itself = _refusing(service, "is where the proxy captures connections")
        result.filter_chains.append(_chain(itself, port, own))
        for passage in found:
            result.filter_chains.extend(_chains(service, passage))
    is_open = passthrough.mode is PassthroughMode.ALL
    rest = _passing() if is_open else _refusing(service, _why(passthrough))
    result.default_filter_chain.filters.append(rest)
    return result


def passthrough_cluster(passthrough: Passthrough) -> cluster_pb2.Cluster | None:
    """Return the cluster that dials where each connection wanted to go; None if nothing passes.

    It is the same for whatever passes, so that a change of mind disturbs no connection that stays.
    """
    is_open = passthrough.mode is PassthroughMode.ALL
    if not is_open and not passthrough.matches:
        return None
    return cluster.of_original(PASSTHROUGH)


def _chains(service: str, passage: Passage) -> Iterator[Any]:
    """Yield the filter chains of ``passage``."""
    allowed = passage.allowed

    def chain(found: Any, **what: Any) -> Any:
        return _chain(found, passage.port, passage.blocks, **what)

    if HostProtocol.TCP in allowed.protocols:
        yield chain(_passing())
    if HostProtocol.TLS in allowed.protocols:
        yield chain(_passing(), transport_protocol="tls")
    if domains := allowed.domains(HostProtocol.TLS):
        yield chain(_passing(), transport_protocol="tls", server_names=domains)
    for protocol, wire in _SPOKEN.items():
        # TLS may have agreed on the same names: those are other connections.
        plain = {"transport_protocol": "raw_buffer", "application_protocols": wire}
        if protocol in allowed.protocols:
            yield chain(_passing(), **plain)
        elif domains := allowed.domains(protocol):
            refusal = (
                f"mesh: {service} may not call %REQ(:AUTHORITY)%: no match of MeshPassthrough "
                f"lets {protocol} to this host through.\n"
            )
            manager = http.capturing_manager(
                CAPTURE, domains=domains, cluster=PASSTHROUGH, refusal=refusal
            )
            yield chain(manager, **plain)


def _chain(found: Any, port: int | None, blocks: Sequence[Block], **what: Any) -> Any:
    match = listener_components_pb2.FilterChainMatch(**what)
    if port is not None:
        match.destination_port.value = port
    for block in blocks:
        prefix = match.prefix_ranges.add(address_prefix=str(block.network_address))
        prefix.prefix_len.value = block.prefixlen
    return listener_components_pb2.FilterChain(filter_chain_match=match, filters=[found])


def _passing() -> Any:
    return listener.tcp_proxy(CAPTURE, PASSTHROUGH)


def _refusing(service: str, why: str) -> Any:
    line = (
        f"[%START_TIME%] refused: mesh: {service} may not call %DOWNSTREAM_LOCAL_ADDRESS% "
        f"(name: %REQUESTED_SERVER_NAME%): {why}\n"
    )
    return listener.tcp_proxy(CAPTURE, cluster.NOBODY, log_format=line)


def _why(passthrough: Passthrough) -> str:
    if passthrough.mode is PassthroughMode.NONE:
        return "MeshPassthrough lets nobody outside the mesh be called"
    return "no match of MeshPassthrough lets it through"


def _inspect(result: listener_pb2.Listener, found: Sequence[Passage]) -> None:
    """Look into connections to the ports where one of ``found`` turns on what is spoken."""
    inspectors = (
        ("tls_inspector", tls_inspector_pb2.TlsInspector(), (HostProtocol.TLS,)),
        ("http_inspector", http_inspector_pb2.HttpInspector(), tuple(_SPOKEN)),
    )
    for name, config, protocols in inspectors:
        ports = [each.port for each in found if each.allowed.looks_at(*protocols)]
        if ports:
            _listener_filter(result, name, config, ports)
            result.listener_filters_timeout.CopyFrom(duration(_PATIENCE))
            # Whoever waits for the server to speak first says nothing that could be looked at.
            result.continue_on_listener_filters_timeout = True


def _listener_filter(
    result: listener_pb2.Listener, name: str, config: Any, ports: Sequence[int | None] = (None,)
) -> None:
    """Add a listener filter that acts on connections to ``ports``; None is any."""
    added = result.listener_filters.add(
        name=f"envoy.filters.listener.{name}", typed_config=typed(config)
    )
    named = sorted({port for port in ports if port is not None})
    if None in ports:
        return
    ranges = [listener_components_pb2.ListenerFilterChainMatchPredicate() for _ in named]
    for each, port in zip(ranges, named, strict=True):
        each.destination_port_range.start, each.destination_port_range.end = port, port + 1
    here = added.filter_disabled.not_match
    if len(ranges) == 1:
        here.CopyFrom(ranges[0])
    else:
        here.or_match.rules.extend(ranges)
