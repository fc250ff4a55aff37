"""The listeners of an edge gateway: what faces clients that nobody vouches for.

What a client says of itself in headers is dropped before anything looks at it: who it is, whence it
came and how Envoy shall treat its request.  Limits are those of Envoy's "Configuring Envoy as an
edge proxy".

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import (
    address_pb2,
    base_pb2,
    config_source_pb2,
    extension_pb2,
    protocol_pb2,
)
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.health_check.v3 import health_check_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from google.protobuf import wrappers_pb2

from mesh.envoy import http, listener, routes
from mesh.envoy.cluster import NOBODY
from mesh.envoy.cors import cors_filter
from mesh.envoy.files import AGENT_CLUSTER, EDGE_HEALTH_PATH
from mesh.envoy.matching import text
from mesh.envoy.proto import duration, typed
from mesh.envoy.tls import CURVES, from_ads
from mesh.model.edge import ANY_HOST, EdgeListener, EdgeTls, EscapedSlashes, MinimumTls

Filters = Sequence[listener_components_pb2.Filter]

_SERVER: Final = "mesh"
_NOT_FOUND: Final = 404
_USUAL: Final = (80, 443)
"""From one port that no URL names to the other: the redirect names none either."""
_BUFFER: Final = 32_768
"""Bytes a client's connection may buffer."""
_HEADER_SECONDS: Final = 10.0
_STREAM_IDLE_SECONDS: Final = 300.0
_CONNECTION_IDLE_SECONDS: Final = 900.0
_MOST_HEADERS: Final = 100
_HEADER_KIB: Final = 60
_STREAMS: Final = 100
_STREAM_WINDOW: Final = 65_536
_CONNECTION_WINDOW: Final = 1_048_576
_HELLO_SECONDS: Final = 5.0
"""Seconds that a client has to begin TLS."""
_CERTIFICATE_SECONDS: Final = 2.0
"""Seconds that a listener waits for a certificate before it serves what it has."""
_ANSWER_SECONDS: Final = 5.0
_REFRESH_SECONDS: Final = 5.0
"""How often Envoy asks the agent whether a certificate has been renewed."""
_FORWARDING: Final = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
    "x-request-id",
)
"""What a client may say of its way only if it came through proxies that are trusted.
(``x-forwarded-proto`` Envoy replaces itself.)"""
_NOBODYS: Final = address_pb2.CidrRange(
    address_prefix="255.255.255.255", prefix_len=wrappers_pb2.UInt32Value(value=32)
)
"""No client comes from there."""
_OURS: Final = "x-envoy-"
_SLASHES: Final = {
    EscapedSlashes.REDIRECT: hcm_pb2.HttpConnectionManager.UNESCAPE_AND_REDIRECT,
    EscapedSlashes.REJECT: hcm_pb2.HttpConnectionManager.REJECT_REQUEST,
    EscapedSlashes.KEEP: hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED,
}
_VERSIONS: Final = {
    MinimumTls.V1_2: common_pb2.TlsParameters.TLSv1_2,
    MinimumTls.V1_3: common_pb2.TlsParameters.TLSv1_3,
}


def name_of(said: EdgeListener) -> str:
    """Return the name of the listener and, for HTTP, of its route configuration."""
    return f"edge:{said.port}"


def http_listener(said: EdgeListener, address: str) -> listener_pb2.Listener:
    """Return the listener of ``said``, which speaks HTTP, plain or behind its certificates.

    It turns on nothing that its routes say, so that no change of theirs drains a client.
    """
    name = name_of(said)
    manager = _manager(said)
    built = _listener(name, address, said.port)
    if said.tls is None:
        built.filter_chains.add(filters=[manager])
        return built
    listener.inspect_tls(built, patience=_HELLO_SECONDS)
    for certificate in said.tls.certificates:
        chain = built.filter_chains.add(name=certificate.source.name, filters=[manager])
        chain.filter_chain_match.transport_protocol = "tls"
        chain.filter_chain_match.server_names.extend(certificate.hosts)
        secret = certificate.source.name
        chain.transport_socket.CopyFrom(_ending(secret, said.tls))
        chain.transport_socket_connect_timeout.CopyFrom(duration(_HEADER_SECONDS))
    return built


def tcp_listener(
    said: EdgeListener, address: str, chains: Iterable[tuple[Sequence[str], Filters]]
) -> listener_pb2.Listener:
    """Return the listener of ``said``, which knows no requests.

    ``chains`` are filters for the names that a client may ask for (SNI); for no names: for all
    others.  TLS is looked at only where there are names.
    """
    built = _listener(name_of(said), address, said.port)
    others = False
    for hosts, filters in chains:
        if hosts:
            chain = built.filter_chains.add(name=" ".join(hosts), filters=filters)
            chain.filter_chain_match.server_names.extend(hosts)
        else:
            built.default_filter_chain.filters.extend(filters)
            others = True
    if built.filter_chains:
        listener.inspect_tls(built, patience=_HELLO_SECONDS)
    if not others:
        line = (
            "[%START_TIME%] refused: mesh: edge: nothing is served under the name "
            "%REQUESTED_SERVER_NAME% that %DOWNSTREAM_REMOTE_ADDRESS% asks for\n"
        )
        refusal = listener.tcp_proxy(name_of(said), NOBODY, log_format=line)
        built.default_filter_chain.filters.append(refusal)
    return built


def health_listener(address: str, port: int) -> listener_pb2.Listener:
    """Return the listener that tells a load balancer in front whether to send clients here."""
    check = health_check_pb2.HealthCheck()
    check.pass_through_mode.value = False
    check.headers.append(
        route_components_pb2.HeaderMatcher(
            name=":path", string_match=text("exact", EDGE_HEALTH_PATH)
        )
    )
    manager = http.base_manager(listener.INBOUND)
    manager.http_filters.add(name="envoy.filters.http.health_check", typed_config=typed(check))
    manager.http_filters.append(http.router())
    manager.route_config.name = listener.INBOUND
    host = manager.route_config.virtual_hosts.add(name=listener.INBOUND, domains=[ANY_HOST])
    nothing = host.routes.add()
    nothing.match.prefix = "/"
    routes.answer(nothing, _NOT_FOUND)
    return listener.listener(
        listener.INBOUND,
        address=address,
        port=port,
        filters=[http.manager_filter(manager)],
        direction=listener.TrafficDirection.INBOUND,
    )


def route_table(
    said: EdgeListener, hosts: Sequence[tuple[str, Iterable[Any]]]
) -> route_pb2.RouteConfiguration:
    """Return the route configuration of ``said``: for each host its Envoy routes.

    For any other host, and for a path that none of a host's routes has, the answer is 404.
    """
    config = route_pb2.RouteConfiguration(name=name_of(said))
    config.validate_clusters.value = False
    # A client names the port too, unless it is the scheme's own.
    config.ignore_port_in_host_matching = True
    if said.https_port:
        host = config.virtual_hosts.add(name="https", domains=[ANY_HOST])
        turned = host.routes.add()
        turned.match.prefix = "/"
        turned.redirect.https_redirect = True
        if (said.port, said.https_port) != _USUAL:
            turned.redirect.port_redirect = said.https_port
        return config
    for name, found in hosts:
        host = config.virtual_hosts.add(name=name, domains=[name])
        host.routes.extend(found)
        host.routes.append(_unserved("no service is served under this path here"))
    if all(name != ANY_HOST for name, _ in hosts):
        host = config.virtual_hosts.add(name="nobody", domains=[ANY_HOST])
        host.routes.append(_unserved("no service is served under this host here"))
    routes.fit_bodies(config)
    return config


def _unserved(why: str) -> Any:
    result = route_components_pb2.Route()
    result.match.prefix = "/"
    routes.answer(result, _NOT_FOUND, f"mesh: {why}\n")
    return result


def _listener(name: str, address: str, port: int) -> listener_pb2.Listener:
    result = listener_pb2.Listener(
        name=name,
        address=listener.socket_address(address, port),
        traffic_direction=listener.TrafficDirection.INBOUND,
    )
    result.per_connection_buffer_limit_bytes.value = _BUFFER
    return result


def _manager(said: EdgeListener) -> listener_components_pb2.Filter:
    manager = http.base_manager(name_of(said))
    manager.rds.route_config_name = name_of(said)
    manager.rds.config_source.CopyFrom(from_ads())
    manager.use_remote_address.value = True
    manager.xff_num_trusted_hops = said.trusted_proxies
    manager.skip_xff_append = False
    # No address makes a client one of ours; without any range Envoy would think of private ones.
    manager.internal_address_config.cidr_ranges.append(_NOBODYS)
    manager.early_header_mutation_extensions.append(_dropped(said.trusted_proxies))
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    manager.preserve_external_request_id = said.trusted_proxies > 0
    manager.path_with_escaped_slashes_action = _SLASHES[said.escaped_slashes]
    manager.strip_trailing_host_dot = True
    manager.server_name = _SERVER
    manager.server_header_transformation = hcm_pb2.HttpConnectionManager.OVERWRITE
    manager.request_headers_timeout.CopyFrom(duration(_HEADER_SECONDS))
    manager.stream_idle_timeout.CopyFrom(duration(_STREAM_IDLE_SECONDS))
    manager.max_request_headers_kb.value = _HEADER_KIB
    common = manager.common_http_protocol_options
    common.idle_timeout.CopyFrom(duration(_CONNECTION_IDLE_SECONDS))
    common.max_headers_count.value = _MOST_HEADERS
    # Some servers read x_a as x-a: a header must not come in by the other's name.
    common.headers_with_underscores_action = protocol_pb2.HttpProtocolOptions.REJECT_REQUEST
    second = manager.http2_protocol_options
    second.max_concurrent_streams.value = _STREAMS
    second.initial_stream_window_size.value = _STREAM_WINDOW
    second.initial_connection_window_size.value = _CONNECTION_WINDOW
    # Always there, and idle: a first route with cross-origin answers must not drain the listener.
    manager.http_filters.append(cors_filter())
    manager.http_filters.append(http.router())
    return http.manager_filter(manager)


def _dropped(trusted: int) -> extension_pb2.TypedExtensionConfig:
    mutation = header_mutation_pb2.HeaderMutation()
    mutation.mutations.extend(_removals(() if trusted else _FORWARDING))
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation", typed_config=typed(mutation)
    )


def _removals(headers: Sequence[str]) -> Iterator[mutation_rules_pb2.HeaderMutation]:
    for name in headers:
        yield mutation_rules_pb2.HeaderMutation(remove=name)
    ours = mutation_rules_pb2.HeaderMutation()
    ours.remove_on_match.key_matcher.prefix = _OURS
    yield ours


def _ending(secret: str, said: EdgeTls) -> base_pb2.TransportSocket:
    context = tls_pb2.DownstreamTlsContext()
    common = context.common_tls_context
    common.alpn_protocols.extend(("h2", "http/1.1"))
    common.tls_params.tls_minimum_protocol_version = _VERSIONS[said.minimum]
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_params.ecdh_curves.extend(CURVES)
    common.tls_certificate_sds_secret_configs.append(_from_agent(secret))
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))


def _from_agent(secret: str) -> Any:
    """Ask the agent, which fetches what it is asked for.

    A file could not be named before it is there: Envoy would refuse the listener, and nobody
    would offer it again.
    """
    config = secret_pb2.SdsSecretConfig(name=secret)
    source = config.sds_config
    source.resource_api_version = config_source_pb2.ApiVersion.V3
    source.initial_fetch_timeout.CopyFrom(duration(_CERTIFICATE_SECONDS))
    api = source.api_config_source
    api.api_type = config_source_pb2.ApiConfigSource.REST
    api.transport_api_version = config_source_pb2.ApiVersion.V3
    api.cluster_names.append(AGENT_CLUSTER)
    api.refresh_delay.CopyFrom(duration(_REFRESH_SECONDS))
    api.request_timeout.CopyFrom(duration(_ANSWER_SECONDS))
    return config
