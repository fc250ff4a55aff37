"""A zone's gateway: lets calls from other zones in, by the name that they ask for.

The name (SNI) is that of a service of this zone, and the cluster that leads to it is called so: the
listener takes whatever cluster the name names and never changes.  Nothing is decrypted, and the
gateway has no certificate that anybody asked for: caller and callee authenticate each other through
it.  A name that is no exported service's has no cluster, and ends here with a line in the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.envoy import cluster, endpoint, zone_gateway
from mesh.envoy.resource import Resource, pack
from mesh.model.destinations import Selection, Target
from mesh.model.names import sni
from mesh.model.proxies import Inbound as Place
from mesh.model.proxies import ProxyNeed
from mesh.render.parts import Part
from mesh.routing.exports import exported, selections
from mesh.routing.instances import selected
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class GatewayListener(Part):
    """Where calls from other zones arrive."""

    place: Place

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener."""
        place = self.place
        built = zone_gateway.gateway_listener(
            place.address, place.port, zone=world.zone, trust_domain=world.trust_domain
        )
        return (pack(built.name, built),)


@dataclass(frozen=True, slots=True)
class Way(Part):
    """The way in to a service, or to a subset of it."""

    target: Target

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster."""
        name = _name(world, self.target)
        return (pack(name, cluster.of_workload(name)),)


@dataclass(frozen=True, slots=True)
class Answering(Part):
    """Where a service, or a subset of it, answers."""

    selection: Selection

    def reads(self) -> tuple[Facet, ...]:
        """Its instances."""
        return (Facet(Aspect.INSTANCES, self.selection.target.service),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the endpoints of its cluster."""
        name = _name(world, self.selection.target)
        return (pack(name, endpoint.assignment(name, selected(world, self.selection))),)


def gateway(world: World, need: ProxyNeed) -> tuple[tuple[Part, ...], frozenset[str]]:
    """Choose the parts of a gateway, and say whose instances they need."""
    if need.inbound is None:
        return (), frozenset()
    services = exported(world)
    parts: list[Part] = [GatewayListener(need.inbound)]
    named: set[str] = set()
    for service in sorted(services):
        for one in selections(world, service):
            name = _name(world, one.target)
            # Of two services that differ in capitals only, one can be asked for.
            if name not in named:
                named.add(name)
                parts += [Way(one.target), Answering(one)]
    return tuple(parts), services


def _name(world: World, target: Target) -> str:
    # Envoy looks at the name that a caller asks for in small letters, as hosts are named.
    return sni(target.service, world.zone, world.trust_domain, subset=target.subset).lower()
