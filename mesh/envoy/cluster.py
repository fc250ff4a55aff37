"""Clusters: an upstream service, and the application behind a proxy.

A destination of the mesh is an EDS cluster: its instances come and go without it.  Where it
fails over to other targets they are endpoints of the same cluster at a lower priority, so that
failing over and coming back need nobody but Envoy; each endpoint then says which target it
belongs to, and with that under which name it is dialled and whom we expect there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from mesh.envoy import tls
from mesh.envoy.balancing import balance
from mesh.envoy.endpoint import TRANSPORT_MATCH, assignment, assignment_of
from mesh.envoy.probes import health_check
from mesh.envoy.protection import limit, outlier_detection
from mesh.envoy.proto import duration, is_ip, typed
from mesh.envoy.tls import from_ads
from mesh.model.destinations import (
    Destination,
    Detectors,
    External,
    Limits,
    LoadBalancing,
    Outlier,
    Selection,
    Settings,
    Target,
)
from mesh.model.identity import WorkloadId
from mesh.model.names import ZONE_EGRESS
from mesh.model.services import Instance, Protocol

NOBODY: Final = "mesh:nobody"
"""A cluster that never exists, and no service can be called so: whatever is sent there ends."""

_OUR_OWN: Final[Mapping[str, str]] = MappingProxyType({})
_CONNECT_TIMEOUT: Final = 5.0
"""Seconds; Consul's default."""
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEEPALIVE_IDLE: Final = 30
"""Seconds after which a silent connection is probed, so that a vanished host is noticed."""
_KEEPALIVE_INTERVAL: Final = 5
_KEEPALIVE_PROBES: Final = 3
_NO_LIMIT: Final = 2**32 - 1
_IPPROTO_TCP: Final = 6
_TCP_USER_TIMEOUT: Final = 18
"""Linux's numbers: the mesh's hosts are Linux, and on another the option is left out."""
_UNACKNOWLEDGED: Final = 3_000
"""Milliseconds."""
_GATEWAY_CONNECT_TIMEOUT: Final = 2.0
"""Seconds: a gateway stands near the instances, and its caller waits for the handshake too."""
_FAILING: Final = Outlier(
    detectors=Detectors(consecutive_gateway=3), base_ejection=5.0, max_ejection_percent=100
)


def of_destination(
    destination: Destination,
    identity: Callable[[Target], WorkloadId],
    *,
    name: str = "",
    roots: Mapping[str, str] = _OUR_OWN,
) -> cluster_pb2.Cluster:
    """Return the cluster of ``destination``, named after its target or ``name``.

    A destination of the mesh gets its endpoints over ADS and is dialled by mutual TLS; nobody
    but the ``identity`` of a target is accepted there, behind a gateway as well.  ``roots`` names,
    by trust domain, the secrets with the roots of trust domains that are not our own.  An external
    one has its addresses with it.
    """
    settings, protocol = destination.settings, destination.protocol
    cluster = _cluster(
        name or destination.target.name,
        protocol,
        connect_timeout=settings.connect_timeout,
        connection=_connection(settings),
    )
    balance(cluster, settings.balancing)
    if settings.limits is not None:
        limit(cluster, settings.limits)
    if settings.outlier is not None:
        cluster.outlier_detection.CopyFrom(outlier_detection(settings.outlier))
    if settings.probe is not None:
        cluster.health_checks.append(health_check(settings.probe, protocol))
    _keep_alive(cluster)
    if destination.external is not None:
        _outside(cluster, destination.external, protocol)
    else:
        _inside(cluster, destination, identity, roots)
    return cluster


def of_address(
    name: str,
    *,
    address: str,
    port: int,
    protocol: Protocol,
    connect_timeout: float | None = None,
    limits: Limits | None = None,
) -> cluster_pb2.Cluster:
    """Return a cluster of one plain-text address."""
    connection = _connection(Settings(limits=limits)) if limits is not None else None
    cluster = _cluster(name, protocol, connect_timeout=connect_timeout, connection=connection)
    cluster.type = cluster_pb2.Cluster.STATIC
    cluster.load_assignment.CopyFrom(assignment_of(name, address, port))
    if limits is not None:
        limit(cluster, limits)
    return cluster


def of_host(name: str, *, host: str, port: int, secure: bool) -> cluster_pb2.Cluster:
    """Return a cluster of a host outside the mesh, by DNS; ``secure`` by its public certificate."""
    cluster = _cluster(name, Protocol.HTTP)
    cluster.type = cluster_pb2.Cluster.STRICT_DNS
    cluster.load_assignment.CopyFrom(assignment_of(name, host, port))
    if secure:
        cluster.transport_socket.CopyFrom(tls.public(host))
    return cluster


def of_original(name: str) -> cluster_pb2.Cluster:
    """Return a cluster that dials where a connection wanted to go before it was redirected.

    Of requests it speaks the version of HTTP in which they came.  How many connections there are
    is between the application and the hosts outside.
    """
    cluster = _cluster(name, Protocol.TCP)
    cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
    cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    options = http_protocol_options_pb2.HttpProtocolOptions()
    same = options.use_downstream_protocol_config
    same.http_protocol_options.SetInParent()
    same.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(typed(options))
    bounds = cluster.circuit_breakers.thresholds.add()
    for bound in (bounds.max_connections, bounds.max_pending_requests, bounds.max_requests):
        bound.value = _NO_LIMIT
    _keep_alive(cluster)
    return cluster


def _cluster(
    name: str,
    protocol: Protocol,
    *,
    connect_timeout: float | None = None,
    connection: protocol_pb2.HttpProtocolOptions | None = None,
) -> Any:
    seconds = _CONNECT_TIMEOUT if connect_timeout is None else connect_timeout
    cluster = cluster_pb2.Cluster(name=name, connect_timeout=duration(seconds))
    if protocol.is_http:
        options = http_protocol_options_pb2.HttpProtocolOptions()
        if connection is not None:
            options.common_http_protocol_options.CopyFrom(connection)
        explicit = options.explicit_http_config
        if protocol is Protocol.HTTP:
            explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
        else:
            explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
        cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(typed(options))
    return cluster


def _connection(settings: Settings) -> protocol_pb2.HttpProtocolOptions | None:
    """Return how long pooled connections last; None if nothing was said about it.

    For TCP that is the listener's affair.
    """
    options = protocol_pb2.HttpProtocolOptions()
    if settings.idle_timeout is not None:
        options.idle_timeout.CopyFrom(duration(settings.idle_timeout))
    if settings.max_duration:
        # 0 would not mean for ever but at once.
        options.max_connection_duration.CopyFrom(duration(settings.max_duration))
    if settings.limits is not None and settings.limits.requests_per_connection:
        options.max_requests_per_connection.value = settings.limits.requests_per_connection
    return options if options.ByteSize() else None


def _keep_alive(cluster: Any) -> None:
    options = cluster.upstream_connection_options.tcp_keepalive
    options.keepalive_time.value = _KEEPALIVE_IDLE
    options.keepalive_interval.value = _KEEPALIVE_INTERVAL
    options.keepalive_probes.value = _KEEPALIVE_PROBES


def of_workload(name: str) -> cluster_pb2.Cluster:
    """Return the cluster by which a gateway reaches a service: what comes goes on as it is.

    Only connections are to be judged there, so an instance that takes none is left out soon.
    """
    cluster = _cluster(name, Protocol.TCP, connect_timeout=_GATEWAY_CONNECT_TIMEOUT)
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(from_ads())
    balance(cluster, LoadBalancing())
    # All connections of a zone come through a few gateways: the limits are the workloads' own.
    limit(cluster, Limits(connections=_NO_LIMIT, pending=_NO_LIMIT, requests=_NO_LIMIT))
    cluster.outlier_detection.CopyFrom(outlier_detection(_FAILING))
    _keep_alive(cluster)
    return cluster


def _inside(
    cluster: Any,
    destination: Destination,
    identity: Callable[[Target], WorkloadId],
    roots: Mapping[str, str],
) -> None:
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(from_ads())

    def socket(selection: Selection) -> base_pb2.TransportSocket:
        target = selection.target
        who = identity(target)
        # What is outside has no identity of ours: the egress gateway answers for it as itself.
        answers = replace(who, service=ZONE_EGRESS) if selection.is_outside else who
        return tls.upstream(
            sni=who.server_name(target.subset),
            identity=answers.uri,
            alpn=_alpn(destination.protocol),
            roots_secret=roots.get(who.trust_domain, ""),
        )

    # Beside matches this is for an endpoint that none of them matches: never plain text.
    cluster.transport_socket.CopyFrom(socket(destination.selection))
    if destination.zones:
        notice_silence(cluster)
    if destination.failover:
        for target, selection in {one.target: one for one in destination.selections}.items():
            match = cluster.transport_socket_matches.add(name=target.name)
            match.match.fields[TRANSPORT_MATCH].string_value = target.name
            match.transport_socket.CopyFrom(socket(selection))


def notice_silence(cluster: Any) -> None:
    """End connections on which what was sent is not acknowledged: a link may fail silently."""
    option = cluster.upstream_bind_config.socket_options.add(
        description="TCP_USER_TIMEOUT", level=_IPPROTO_TCP, name=_TCP_USER_TIMEOUT
    )
    option.int_value = _UNACKNOWLEDGED
    option.type.stream.SetInParent()


def _outside(cluster: Any, external: External, protocol: Protocol) -> None:
    is_literal = all(is_ip(host.address) for host in external.hosts)
    cluster.type = cluster_pb2.Cluster.STATIC if is_literal else cluster_pb2.Cluster.STRICT_DNS
    if not is_literal:
        # Envoy's own choice is IPv6 alone, if the name has it, reachable or not.
        cluster.dns_lookup_family = cluster_pb2.Cluster.V4_PREFERRED
    hosts = [
        Instance(id=host.address, node="", address=host.address, port=host.port)
        for host in external.hosts
    ]
    cluster.load_assignment.CopyFrom(_named(assignment(cluster.name, hosts)))
    if external.tls:
        cluster.transport_socket.CopyFrom(_origination(external, protocol))


def _named(
    found: endpoint_pb2.ClusterLoadAssignment,
) -> endpoint_pb2.ClusterLoadAssignment:
    """Give each endpoint with a DNS name that name, for its SNI."""
    for group in found.endpoints:
        for each in group.lb_endpoints:
            address = each.endpoint.address.socket_address.address
            if not is_ip(address):
                each.endpoint.hostname = address
    return found


def _origination(external: External, protocol: Protocol) -> base_pb2.TransportSocket:
    """Return TLS to the hosts: their names are verified, or their addresses if they have none."""
    addresses = list(dict.fromkeys(host.address for host in external.hosts))
    names = external.names
    server = external.sni
    if not server and len(addresses) == 1 and not is_ip(addresses[0]):
        server = addresses[0]
    if not names and not server and any(is_ip(address) for address in addresses):
        names = tuple(addresses)
    return tls.external(
        sni=server,
        names=names,
        ca=external.ca,
        ca_file=external.ca_file,
        certificate=external.certificate,
        verify=external.verify,
        alpn=_alpn(protocol),
    )


def _alpn(protocol: Protocol) -> tuple[str, ...]:
    return ("h2",) if protocol in {Protocol.HTTP2, Protocol.GRPC} else ()
