"""A callee: a real Envoy in front of an application, one listener for each inbound traffic.

What would arrive over ADS stands in the listener itself, so that one Envoy serves all.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from mesh.envoy import cluster, connections, inbound_http, inbound_listener
from mesh.envoy import http as managers
from mesh.envoy.filters import tokens
from mesh.envoy.filters.parts import Named
from mesh.envoy.listener import TrafficDirection, listener, tcp_proxy
from mesh.envoy.proto import typed
from mesh.envoy.resource import TYPE_PREFIX
from mesh.model.identity import WorkloadId
from mesh.model.inbound import InboundRoute, InboundTraffic, TlsMode
from mesh.model.intentions import JwtProvider
from mesh.model.services import Protocol
from tests.policies.authority import Authority
from tests.realenvoy import bootstrap, running

DOMAIN: Final = "td.example"
GONE: Final = "gone"
"""A service that nobody reaches."""
REFUSALS: Final = (
    (f"rbac_access_denied_matched_policy[{tokens.LACKING}]", "claims are lacking\n"),
    ("rbac_access_denied", "no intention\n"),
)


Gates = Mapping[str, Sequence[Named]]


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def seen(self) -> dict[str, str]:
        """Return the request's headers as the application saw them."""
        found: dict[str, str] = json.loads(self.body)
        return found


@dataclass
class Callee:
    """The callee's ports, and callers for it."""

    ports: Mapping[str, int]
    authority: Authority
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def caller(self, service: str, zone: str = "dc1") -> ssl.SSLContext:
        """Return the TLS context of a workload."""
        uri = WorkloadId(DOMAIN, zone, service).uri
        if uri not in self._contexts:
            self._contexts[uri] = self.authority.client(f"{service}-{zone}", uri)
        return self._contexts[uri]

    def ask(
        self,
        name: str,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        by: str = "web",
        zone: str = "dc1",
        body: bytes | None = None,
    ) -> Answer:
        """Send one request to the listener ``name`` over a connection of its own."""
        with self.connected(name, self.caller(by, zone)) as connection:
            return ask(connection, path, headers or {}, body)

    @contextmanager
    def connected(
        self, name: str, context: ssl.SSLContext | None
    ) -> Iterator[http.client.HTTPConnection]:
        """Give a connection to the listener ``name``; without a context in plain text."""
        port = self.ports[name]
        connection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            if context is None
            else http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
        )
        try:
            yield connection
        finally:
            connection.close()


def ask(
    connection: http.client.HTTPConnection,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request."""
    connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, found, response.read())


def types(filters: Sequence[Named]) -> list[tuple[str, str]]:
    """Return names and type URLs."""
    return [(name, TYPE_PREFIX + config.DESCRIPTOR.full_name) for name, config in filters]


@contextmanager
def serving(
    traffic: Mapping[str, InboundTraffic],
    clusters: Mapping[str, tuple[int, Protocol]],
    directory: Path,
    providers: Mapping[str, JwtProvider],
    gates: Gates,
) -> Iterator[Callee]:
    """Run an Envoy with a listener for each of ``traffic``; ``app`` is the application.

    ``gates`` are the filters of intentions by the listener's name.
    """
    authority = Authority(directory)
    transport = _transport(authority)
    with socket.socket() as silent:
        # Bound, but nobody listens.
        silent.bind(("127.0.0.1", 0))
        places = {**clusters, GONE: (silent.getsockname()[1], Protocol.GRPC)}
        reached = [
            cluster.of_address(name, address="127.0.0.1", port=port, protocol=protocol)
            for name, (port, protocol) in places.items()
        ]
        listeners = [
            _listener(name, inbound, transport, providers, gates.get(name, ()))
            for name, inbound in traffic.items()
        ]
        with running(bootstrap(listeners, reached), directory) as ports:
            yield Callee(ports, authority)


def _listener(
    name: str,
    inbound: InboundTraffic,
    transport: Any,
    providers: Mapping[str, JwtProvider],
    gates: Sequence[Named],
) -> Any:
    filters = [
        listener_components_pb2.Filter(name=each, typed_config=typed(config))
        for each, config in connections.filters(inbound)
    ]
    if inbound.routes:
        filters.append(_manager(name, inbound.routes, providers, gates))
    else:
        filters.append(tcp_proxy(name, "app", after_handshake=True))
    if inbound.mode is TlsMode.STRICT:
        return listener(
            name,
            address="127.0.0.1",
            port=0,
            filters=filters,
            direction=TrafficDirection.INBOUND,
            transport=transport,
        )
    return inbound_listener.permissive(
        name,
        address="127.0.0.1",
        port=0,
        filters=filters,
        plain_filters=filters if inbound.routes else [tcp_proxy(name, "plain")],
        transport=transport,
    )


def _manager(
    name: str,
    routes: Sequence[InboundRoute],
    providers: Mapping[str, JwtProvider],
    gates: Sequence[Named],
) -> Any:
    filters = inbound_http.filters(routes, providers=providers)
    configs = dict((*gates, *filters))
    table = inbound_http.route_table(
        name, routes, cluster="app", trust_domain=DOMAIN, providers=providers
    )
    built = managers.inbound_manager_by_routes(
        name, gates=types(gates), filters=types(filters), refusals=REFUSALS
    )
    manager = hcm_pb2.HttpConnectionManager()
    built.typed_config.Unpack(manager)
    manager.route_config.CopyFrom(table)
    for each in manager.http_filters:
        if each.name in configs:
            each.typed_config.CopyFrom(typed(configs[each.name]))
    built.typed_config.CopyFrom(typed(manager))
    return built


def _transport(authority: Authority) -> Any:
    cert, key = authority.issue("server", WorkloadId(DOMAIN, "dc1", "api").uri)
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = True
    common = context.common_tls_context
    common.tls_certificates.add(
        certificate_chain={"filename": str(cert)}, private_key={"filename": str(key)}
    )
    common.validation_context.trusted_ca.filename = str(authority.root)
    return listener_components_pb2.FilterChain(
        transport_socket={
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(context),
        }
    ).transport_socket
