"""A zone's gateway: lets calls from other zones in, by the name that they ask for.

The name (SNI) is that of a service of this zone, and the cluster that leads to it is called so: the
listener takes whatever cluster the name names and never changes.  Nothing is decrypted, and the
gateway has no certificate that anybody asked for: caller and callee authenticate each other through
it.  A name that is no exported service's has no cluster, and ends here with a line in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mesh.envoy import by_name, cluster, endpoint, zone_gateway
from mesh.envoy.proto import is_ip
from mesh.envoy.resource import Resource, pack
from mesh.model import hostport
from mesh.model.destinations import Selection, Target
from mesh.model.proxies import Inbound as Place
from mesh.model.proxies import ProxyNeed
from mesh.model.services import Protocol
from mesh.render.parts import Part
from mesh.routing.exports import exported, selections
from mesh.routing.instances import selected
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

_CONTROL_PLANE: Final = "mesh:control-plane"
"""No service can be called so, hence no name that a caller asks for leads there."""


@dataclass(frozen=True, slots=True)
class GatewayListener(Part):
    """Where calls from other zones arrive, and the control planes of peers."""

    place: Place

    def reads(self) -> tuple[Facet, ...]:
        """Whether there is peering: without, nobody gets through to the control plane."""
        return (Facet(Aspect.ZONES),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener."""
        place = self.place
        built = zone_gateway.gateway_listener(
            place.address,
            place.port,
            zone=world.zone,
            trust_domain=world.trust_domain,
            control_plane=_CONTROL_PLANE if world.peering and world.api else "",
        )
        return (pack(built.name, built),)


@dataclass(frozen=True, slots=True)
class ControlPlane(Part):
    """The way to the zone's own control plane, for the peering alone."""

    def reads(self) -> tuple[Facet, ...]:
        """Whether there is peering."""
        return (Facet(Aspect.ZONES),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster, if it is needed."""
        if not world.peering or not world.api:
            return ()
        host, port = hostport.split(world.api)
        if is_ip(host):
            built = cluster.of_address(
                _CONTROL_PLANE, address=host, port=port, protocol=Protocol.TCP
            )
        else:
            built = cluster.of_host(_CONTROL_PLANE, host=host, port=port, secure=False)
        return (pack(_CONTROL_PLANE, built),)


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
    parts: list[Part] = [GatewayListener(need.inbound), ControlPlane()]
    # Of two services that differ in capitals only, the first can be asked for.
    named: dict[str, Selection] = {}
    for service in sorted(services):
        for one in selections(world, service):
            named.setdefault(_name(world, one.target), one)
    for one in named.values():
        parts += [Way(one.target), Answering(one)]
    return tuple(parts), services


def _name(world: World, target: Target) -> str:
    return by_name.asked(world.identity(target.service), target.subset)
