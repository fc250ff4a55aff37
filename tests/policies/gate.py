"""Listeners of a real Envoy that answer 200 behind the filters under test."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Any, Final

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from mesh.envoy.jwt import JWT_AUTHN
from mesh.envoy.proto import typed
from mesh.policies.intentions import Authorization
from tests import realenvoy
from tests.policies.authority import Authority

SEEN_PATH: Final = "x-seen-path"
"""Response header with the path as the filters saw it."""


def bootstrap(gates: Mapping[str, Authorization], authority: Authority) -> str:
    """Return a configuration, in JSON, with one listener for each of ``gates``."""
    socket = _server(authority)
    return realenvoy.bootstrap(_listener(name, filters, socket) for name, filters in gates.items())


def ask(
    port: int,
    client: ssl.SSLContext,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    """Send one request and return the answer, its body read."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=client)
    try:
        connection.putrequest(method, target)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def _server(authority: Authority) -> Any:
    cert, key = authority.issue("server", "spiffe://td.example/ns/default/dc/dc1/svc/api")
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = True
    common = context.common_tls_context
    common.tls_certificates.add(
        certificate_chain={"filename": str(cert)}, private_key={"filename": str(key)}
    )
    common.validation_context.trusted_ca.filename = str(authority.root)
    return typed(context)


def _listener(name: str, filters: Authorization, socket: Any) -> Any:
    listener = listener_pb2.Listener(name=name, stat_prefix=name)
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    chain = listener.filter_chains.add()
    chain.transport_socket.name = "envoy.transport_sockets.tls"
    chain.transport_socket.typed_config.CopyFrom(socket)
    if filters.network is not None:
        chain.filters.add(name="envoy.filters.network.rbac", typed_config=typed(filters.network))
    chain.filters.append(_manager(name, filters))
    return listener


def _manager(name: str, filters: Authorization) -> Any:
    manager = hcm_pb2.HttpConnectionManager(stat_prefix=name, merge_slashes=True)
    manager.normalize_path.value = True
    manager.path_with_escaped_slashes_action = manager.KEEP_UNCHANGED
    host = manager.route_config.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.direct_response.status = 200
    seen = route.response_headers_to_add.add()
    seen.header.key, seen.header.value = SEEN_PATH, "%REQ(:PATH)%"
    if filters.jwt is not None:
        manager.http_filters.add(name=JWT_AUTHN, typed_config=typed(filters.jwt))
    if filters.http is not None:
        manager.http_filters.add(name="envoy.filters.http.rbac", typed_config=typed(filters.http))
    manager.http_filters.add(
        name="envoy.filters.http.router", typed_config=typed(router_pb2.Router())
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=typed(manager)
    )
