"""The capture listener: where connections arrive that the application made to somebody else.

They were redirected to it; the kernel knows where they wanted to go.  To a virtual address, at any
port, they go the way of the service that has it; to one of a service that may not be called, and
to one that nobody has, they end: with a sentence at port 80, where HTTP is spoken, and with a line
in the log elsewhere.  Of calls of strangers, what passes goes on to just where it wanted to go,
unchanged, and the rest ends at once with a line in the log.  Such a connection is looked into only
where something turns on what is spoken: which name TLS asks for, which host HTTP does.

Envoy asks for the port first: where some chain names one, chains without a port are out of the
question for it.  So a service's chain is there for each port that is named.  A service more or
less changes filter chains alone, and Envoy leaves the connections of the others as they are.

A direct connection to the listener wants to go to the listener: it is refused, as Envoy would go on
calling itself until it has no file left.  A listener on every address has to refuse its port at
every address.  Redirects are expected to leave alone what the proxy itself sends, and what goes to
loopback addresses, where upstreams are dialled.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from mesh.envoy import cluster, http, listener
from mesh.envoy.passing import EVERYWHERE, Block, Passage, is_within, passages
from mesh.envoy.proto import duration, typed
from mesh.model.passthrough import HostProtocol, Passthrough, PassthroughMode
from mesh.model.proxies import Capture

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


_HTTP_PORT: Final = 80
_UNMET: Final = "no intention allows it, or no service has this address"


@dataclass(frozen=True, slots=True)
class Door:
    """How captured connections to one service go on: by ``filter``.

    ``addresses`` are the virtual ones of the service (IP literals).
    """

    filter: listener_components_pb2.Filter
    addresses: tuple[str, ...]


def capture_listener(
    service: str,
    place: Capture,
    passthrough: Passthrough,
    *,
    doors: Sequence[Door] = (),
    virtual: Sequence[Block] = (),
) -> listener_pb2.Listener:
    """Return the listener of proxies of ``service``: for services, and as ``passthrough`` says.

    On the IPv6 address ``::`` it serves connections by IPv4 as well.  Whatever is called in the
    blocks ``virtual`` and has no door is refused, however much may pass.
    """
    result = listener_pb2.Listener(
        name=CAPTURE,
        address=listener.socket_address(place.address, place.port),
        traffic_direction=listener.TrafficDirection.OUTBOUND,
    )
    result.per_connection_buffer_limit_bytes.value = listener.BUFFER_LIMIT
    if place.also:
        added = result.additional_addresses.add()
        added.address.CopyFrom(listener.socket_address(place.also, place.port))
    host = ipaddress.ip_address(place.address)
    if isinstance(host, ipaddress.IPv6Address) and host.is_unspecified:
        result.address.socket_address.ipv4_compat = True
    own = EVERYWHERE if host.is_unspecified else tuple(map(ipaddress.ip_network, place.addresses))
    _listener_filter(result, "original_dst", original_dst_pb2.OriginalDst())
    found: list[Passage] = []
    if passthrough.mode is PassthroughMode.MATCHED:
        found = list(passages(passthrough.matches, own_port=place.port, own=own))
        _inspect(result, found)
    named = {None, _HTTP_PORT, *(passage.port for passage in found)} - {place.port}
    for port in sorted(named, key=lambda one: one or 0) if virtual else ():
        result.filter_chains.extend(
            _chain(door.filter, port, tuple(map(ipaddress.ip_network, door.addresses)))
            for door in doors
        )
        refused = _unmet(service) if port == _HTTP_PORT else _refusing(service, _UNMET)
        result.filter_chains.append(_chain(refused, port, virtual))
    if passthrough.mode is not PassthroughMode.NONE or virtual:
        itself = _refusing(service, "is where the proxy captures connections")
        # No service is at the proxy's own port: an address that nobody has is as good as another.
        result.filter_chains.append(_chain(itself, place.port, (*own, *virtual)))
        for passage in found:
            elsewhere = tuple(one for one in passage.blocks if not is_within(one, virtual))
            # A chain without a block would be for every address.
            if elsewhere:
                result.filter_chains.extend(_chains(service, replace(passage, blocks=elsewhere)))
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


def _unmet(service: str) -> Any:
    """Answer 403 to whatever is asked of a service that ``service`` may not call."""
    body = (
        f"mesh: {service} may not call %REQ(:AUTHORITY)%: {_UNMET}. "
        f"To allow it: mesh intention allow {service} SERVICE\n"
    )
    return http.refusing_manager(CAPTURE, refusal=body)


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
