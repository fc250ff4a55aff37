"""The outbound side: one listener for each upstream, and what it leads to.

For an HTTP service the caller's proxy tells requests apart, to route and balance them and to
answer a forbidden call with a sentence; its listener never changes, only the routes behind it
do.  For TCP the listener itself forwards or refuses.  A target that the caller may not call has
neither cluster nor endpoints here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mesh.envoy import cluster, endpoint, http, listener, routes, tls
from mesh.envoy.resource import Resource, pack
from mesh.model.destinations import Destination, Selection, Target
from mesh.model.proxies import Upstream
from mesh.model.services import Instance
from mesh.model.traffic import Forward, Traffic
from mesh.render.parts import Part, Same
from mesh.routing.instances import selected
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

_LOCALITY: Final = "locality"
"""Key of an instance's or its node's meta that says where it stands."""

Refusals = tuple[tuple[Target, str], ...]
"""Targets that the caller may not call, each with the sentence that says why."""


def listener_name(upstream: Upstream) -> str:
    """Return the name of the listener on which the application dials ``upstream``."""
    return f"outbound:{upstream.called}:{upstream.address}:{upstream.port}"


@dataclass(frozen=True, slots=True)
class HttpListener(Part):
    """Where the application dials an HTTP service; allowed or not, it stays as it is."""

    upstream: Upstream
    cors: bool = False

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        service = self.upstream.called
        manager = http.outbound_manager(service, route=service, cors=self.cors)
        return (_listener(self.upstream, manager),)


@dataclass(frozen=True, slots=True)
class RouteTable(Part):
    """Where requests to a service go, and which are answered with a refusal."""

    service: str
    traffic: Same[Traffic]
    refused: Refusals

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the route configuration."""
        table = routes.route_table(
            self.service, self.traffic.value.routes, refused=dict(self.refused)
        )
        return (pack(self.service, table),)


@dataclass(frozen=True, slots=True)
class TcpListener(Part):
    """Where the application dials a TCP service; what is refused closes, with a log line."""

    upstream: Upstream
    traffic: Same[Traffic]
    refused: Refusals

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener."""
        forward = forwarding(self.upstream.called, self.traffic.value, self.refused)
        return (_listener(self.upstream, forward),)


def forwarding(service: str, traffic: Traffic, refused: Refusals) -> Any:
    """Return the filter that sends connections to ``service`` on, or ends them with a log line."""
    action = traffic.routes[0].action
    shares = action.shares if isinstance(action, Forward) else ()
    denied = dict(refused)
    weights = [
        (cluster.NOBODY if share.target in denied else share.target.name, share.weight)
        for share in shares
    ] or [(cluster.NOBODY, 1)]
    settings = [traffic.destinations[share.target].settings for share in shares]
    nobody = all(name == cluster.NOBODY for name, _ in weights)
    sentence = escaped(" ".join(denied.values())) if nobody else ""
    return listener.tcp_proxy(
        service,
        cluster.NOBODY if nobody else weights,
        log_format=f"[%START_TIME%] refused: {sentence}\n" if sentence else "",
        idle_timeout=(settings[0].idle_timeout or 0) if settings else 0,
        max_duration=settings[0].max_duration if settings else None,
        attempts=settings[0].connect_attempts if settings else None,
        # Nothing else of a connection can be hashed.
        by_source=bool(traffic.routes[0].hashing),
    )


@dataclass(frozen=True, slots=True)
class Cluster(Part):
    """How a target is reached: mTLS to exactly its identity, or as its external service asks."""

    name: str
    destination: Same[Destination]

    def reads(self) -> tuple[Facet, ...]:
        """Whom to believe in other zones, where calls may be sent there."""
        return (Facet(Aspect.ZONES),) if self.destination.value.zones else ()

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster."""
        built = cluster.of_destination(
            self.destination.value,
            lambda target: world.identity(target.service, target.elsewhere),
            name=self.name,
            roots={zone.trust_domain: roots_name(zone.name) for zone in world.peers.values()},
        )
        return (pack(self.name, built),)


@dataclass(frozen=True, slots=True)
class Roots(Part):
    """Whom to believe in another zone, where that has a trust domain of its own."""

    zone: str

    def reads(self) -> tuple[Facet, ...]:
        """The zone's bundle."""
        return (Facet(Aspect.ZONES),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the secret with its roots; nothing for a zone that shares our own."""
        if not world.is_peer(self.zone):
            return ()
        name = roots_name(self.zone)
        return (pack(name, tls.roots(name, world.zones[self.zone].bundle)),)


@dataclass(frozen=True, slots=True)
class Endpoints(Part):
    """Where the instances of a target answer, and those that it fails over to.

    ``near`` is the caller's locality, if instances there come first; ``labels`` are those of the
    caller by which the calls are shared out.  Of the services ``shut``, which the caller may not
    call, he is told nothing.
    """

    name: str
    destination: Same[Destination]
    near: str = ""
    shut: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def reads(self) -> tuple[Facet, ...]:
        """Only the instances of its services, and the gateways of other zones where they are."""
        destination = self.destination.value
        found: dict[Facet, None] = {}
        for one in destination.selections:
            target = one.target
            if target.service in self.shut:
                continue
            if one.dialled:
                found[Facet(Aspect.INSTANCES, one.dialled)] = None
            if target.elsewhere:
                found[Facet(Aspect.GATEWAYS, target.elsewhere)] = None
                found[Facet(Aspect.ANSWERING, target.service)] = None
        return tuple(found)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the endpoints."""
        destination = self.destination.value
        groups = [
            (self._selected(world, one), one.target.name if destination.failover else "")
            for one in destination.selections
        ]
        near = self._is_near if self.near else None
        balancing = destination.settings.balancing
        places = endpoint.prioritised(
            self.name,
            groups,
            near=near,
            parts=self._parts if balancing.affinity else None,
            spill_below=balancing.spill_below,
        )
        return (pack(self.name, places),)

    def _selected(self, world: World, selection: Selection) -> tuple[Instance, ...]:
        return () if selection.target.service in self.shut else selected(world, selection)

    def _parts(self, instance: Instance) -> int:
        own = dict(self.labels)
        for affinity in self.destination.value.settings.balancing.affinity:
            there = instance.meta.get(affinity.key) or instance.node_meta.get(affinity.key)
            if there and there == own.get(affinity.key):
                return affinity.weight
        return 1

    def _is_near(self, instance: Instance) -> bool:
        return locality(instance) == self.near


def roots_name(zone: str) -> str:
    """Return the name of the secret with the roots of a peer."""
    return f"bundle:{zone}"


def locality(instance: Instance) -> str:
    """Return where ``instance`` stands, by its own meta or its node's; empty if nobody said."""
    return instance.meta.get(_LOCALITY) or instance.node_meta.get(_LOCALITY, "")


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


def escaped(text: str) -> str:
    """Escape what Envoy's access log format would read as a command."""
    return text.replace("%", "%%")
