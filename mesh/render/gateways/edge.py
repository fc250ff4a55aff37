"""An edge gateway: serves clients outside the mesh, and calls services as a sidecar does.

It has an identity like any other and no privilege: what no intention allows it is answered with the
sentence that would allow it, and of such a service it is told nothing.  The listeners turn on what
is said of ports and certificates only; which service a request is for, and what becomes of it
there, is in their route tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mesh.envoy import edge, listener, routes
from mesh.envoy.cluster import NOBODY
from mesh.envoy.resource import Resource, pack
from mesh.model.edge import ANY_HOST, EdgeListener, EdgeProtocol, Exposed
from mesh.model.proxies import Inbound as Place
from mesh.model.proxies import ProxyNeed
from mesh.model.requests import EVERYTHING
from mesh.model.traffic import Respond, Route, Traffic
from mesh.policies.selection import Selection
from mesh.render.outbound import Refusals, escaped, forwarding
from mesh.render.parts import Part, Same
from mesh.render.plan import Planned, reached, refusals
from mesh.routing.edge import narrowed, served, services
from mesh.routing.memo import Compositions
from mesh.world.snapshot import World

_UNAVAILABLE: Final = 503


class Way(NamedTuple):
    """How requests, or connections, for an exposed service go on."""

    exposed: Exposed
    traffic: Same[Traffic]
    refused: Refusals


@dataclass(frozen=True, slots=True)
class HealthListener(Part):
    """Where a load balancer asks whether to send clients here."""

    place: Place

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        built = edge.health_listener(self.place.address, self.place.port)
        return (pack(built.name, built),)


@dataclass(frozen=True, slots=True)
class HttpListener(Part):
    """Where clients that speak HTTP arrive; ``said`` is without its services."""

    said: EdgeListener
    address: str

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        built = edge.http_listener(self.said, self.address)
        return (pack(built.name, built),)


@dataclass(frozen=True, slots=True)
class RouteTable(Part):
    """Which service a request is for, by host and path, and what becomes of it."""

    said: EdgeListener
    ways: tuple[Way, ...]

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the route configuration."""
        hosts: dict[str, list[Way]] = {}
        for way in self.ways:
            for host in way.exposed.hosts:
                hosts.setdefault(host, []).append(way)
        found = [(host, self._routes(ways)) for host, ways in sorted(hosts.items())]
        table = edge.route_table(self.said, found)
        return (pack(table.name, table),)

    def _routes(self, ways: list[Way]) -> Iterator[Any]:
        # The longest path first: it is the most particular.
        for way in sorted(ways, key=lambda one: -len(one.exposed.path)):
            for route in _own_routes(way, self.said):
                fitting = narrowed(route, way.exposed)
                if fitting is not None:
                    yield from routes.envoy_routes(fitting, refused=dict(way.refused))


@dataclass(frozen=True, slots=True)
class TcpListener(Part):
    """Where clients arrive of whom no request is seen; names (SNI) tell services apart."""

    said: EdgeListener
    address: str
    ways: tuple[Way, ...]

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        chains = (
            ([host for host in way.exposed.hosts if host != ANY_HOST], [self._forward(way)])
            for way in self.ways
        )
        built = edge.tcp_listener(self.said, self.address, chains)
        return (pack(built.name, built),)

    def _forward(self, way: Way) -> Any:
        service, traffic = way.exposed.service, way.traffic.value
        if traffic.protocol.is_http:
            line = f"[%START_TIME%] refused: {escaped(_misfit(way, self.said))}\n"
            return listener.tcp_proxy(service, NOBODY, log_format=line)
        return forwarding(service, traffic, way.refused)


def gateway(world: World, need: ProxyNeed, said: Selection, known: Compositions) -> Planned:
    """Choose the parts of an edge gateway, and say whose instances they need."""
    if need.inbound is None:
        return (), frozenset()
    place = need.inbound
    parts: dict[Part, None] = {HealthListener(place): None}
    needed: set[str] = set()
    ways: dict[str, tuple[Same[Traffic], Refusals]] = {}
    edge_said = served(world, said, need.service)
    for service in services(edge_said):
        compiled = known.traffic(need.service, said, service)
        refused = refusals(world, need.service, compiled.traffic)
        ways[service] = (Same(compiled.traffic), refused)
        needed |= compiled.services
        denied = {target for target, _ in refused}
        for target, destination in compiled.traffic.destinations.items():
            if target not in denied:
                parts.update(dict.fromkeys(reached(world, destination, need)))
    for one in edge_said.listeners:
        parts.update(dict.fromkeys(_listener_parts(one, place.address, ways)))
    return tuple(parts), frozenset(needed)


def asked(world: World, need: ProxyNeed, said: Selection) -> tuple[str, ...]:
    """Return the services that an edge gateway calls."""
    return services(served(world, said, need.service)) if need.inbound is not None else ()


def _listener_parts(
    said: EdgeListener, address: str, ways: dict[str, tuple[Same[Traffic], Refusals]]
) -> Iterator[Part]:
    if said.protocol is EdgeProtocol.HTTPS and said.tls is None:
        # Never in plain text what was meant to be secret.
        return
    own = tuple(Way(one, *ways[one.service]) for one in said.services)
    bare = EdgeListener(
        said.port,
        said.protocol,
        tls=said.tls,
        trusted_proxies=said.trusted_proxies,
        escaped_slashes=said.escaped_slashes,
    )
    if said.protocol.is_http:
        yield HttpListener(bare, address)
        table = EdgeListener(said.port, said.protocol, https_port=said.https_port)
        yield RouteTable(table, own)
    else:
        yield TcpListener(bare, address, own)


def _own_routes(way: Way, said: EdgeListener) -> tuple[Route, ...]:
    traffic = way.traffic.value
    if traffic.protocol.is_http:
        return traffic.routes
    return (Route(EVERYTHING, Respond(_UNAVAILABLE, f"{_misfit(way, said)}\n")),)


def _misfit(way: Way, said: EdgeListener) -> str:
    service, speaks = way.exposed.service, way.traffic.value.protocol.value
    return (
        f"mesh: {service} speaks {speaks}, which listener {said.port} ({said.protocol.value}) "
        f"cannot carry: set Protocol in its service-defaults"
    )
