"""The outbound side: one listener for each upstream, and what it leads to.

For an HTTP service the caller's proxy tells requests apart, to balance them and to answer a
forbidden call with a sentence; its listener never changes, only the route behind it does.  For
TCP the listener itself forwards or refuses.  A service that the caller may not call has
neither cluster nor endpoints here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mesh.envoy import cluster, endpoint, http, listener, tls
from mesh.envoy.resource import Resource, pack
from mesh.model.identity import WorkloadId
from mesh.model.names import sni
from mesh.model.proxies import Upstream
from mesh.model.services import Protocol
from mesh.render.parts import Part
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

_NOBODY: Final = "refused"
"""A cluster that never exists: tcp_proxy ends a connection to it at once."""


def listener_name(upstream: Upstream) -> str:
    """Return the name of the listener on which the application dials ``upstream``."""
    return f"outbound:{upstream.service}:{upstream.address}:{upstream.port}"


@dataclass(frozen=True, slots=True)
class HttpListener(Part):
    """Where the application dials an HTTP service; allowed or not, it stays as it is."""

    upstream: Upstream

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        service = self.upstream.service
        return (_listener(self.upstream, http.outbound_manager(service, route=service)),)


@dataclass(frozen=True, slots=True)
class TcpListener(Part):
    """Where the application dials a TCP service that it may call."""

    upstream: Upstream

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        service = self.upstream.service
        return (_listener(self.upstream, listener.tcp_proxy(service, service)),)


@dataclass(frozen=True, slots=True)
class RefusingTcpListener(Part):
    """Where the application dials a TCP service that it may not call: closed, with a log line."""

    upstream: Upstream
    sentence: str

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        line = f"[%START_TIME%] refused: {_escaped(self.sentence)}\n"
        forward = listener.tcp_proxy(self.upstream.service, _NOBODY, log_format=line)
        return (_listener(self.upstream, forward),)


@dataclass(frozen=True, slots=True)
class Route(Part):
    """Requests to a service that the caller may call."""

    service: str

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the route configuration."""
        return (pack(self.service, http.route_to(self.service, self.service)),)


@dataclass(frozen=True, slots=True)
class RefusingRoute(Part):
    """Requests to a service that the caller may not call: 403 with a sentence."""

    service: str
    sentence: str

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the route configuration."""
        return (pack(self.service, http.route_refusing(self.service, self.sentence + "\n")),)


@dataclass(frozen=True, slots=True)
class Cluster(Part):
    """How a service of the zone is reached: mTLS to exactly its identity."""

    service: str
    protocol: Protocol

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster."""
        identity = WorkloadId(world.trust_domain, world.zone, self.service)
        transport = tls.upstream(
            sni=sni(self.service, world.zone, world.trust_domain),
            identity=identity.uri,
            alpn=("h2",) if self.protocol in {Protocol.HTTP2, Protocol.GRPC} else (),
        )
        built = cluster.by_discovery(self.service, protocol=self.protocol, transport=transport)
        return (pack(self.service, built),)


@dataclass(frozen=True, slots=True)
class Endpoints(Part):
    """Where a service of the zone answers."""

    service: str

    def reads(self) -> tuple[Facet, ...]:
        """Only the service's instances."""
        return (Facet(Aspect.INSTANCES, self.service),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the endpoints."""
        found = world.instances.get(self.service, ())
        return (pack(self.service, endpoint.assignment(self.service, found)),)


def _listener(upstream: Upstream, forward: object) -> Resource:
    name = listener_name(upstream)
    built = listener.listener(
        name,
        address=upstream.address,
        port=upstream.port,
        filters=[forward],
        direction=listener.TrafficDirection.OUTBOUND,
    )
    return pack(name, built)


def _escaped(text: str) -> str:
    """Escape what Envoy's access log format would read as a command."""
    return text.replace("%", "%%")
