"""Which of its services a zone lets others call, and how many instances answer there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model.destinations import Selection, Target
from mesh.model.names import WILDCARD
from mesh.model.proxies import GATEWAYS
from mesh.model.services import Health, Instance
from mesh.model.zones import Exported
from mesh.policies.kinds.exported_services import exported_services
from mesh.routing.instances import selected
from mesh.world.snapshot import World

EVERY_ZONE = frozenset({WILDCARD})
"""Each zone of the own federation."""


@dataclass(frozen=True, slots=True)
class Consumers:
    """Whom one service is exported to: zones (:data:`EVERY_ZONE` for each), and peers."""

    zones: frozenset[str] = EVERY_ZONE
    peers: frozenset[str] = frozenset()


def consumers(world: World) -> Mapping[str, Consumers]:
    """Return whom each service of the zone is exported to, as the policies have it.

    Peers that are named for a service, or for ``*``, count together.  Of zones those count that
    are named for the service, else those that are named for ``*``, else all.
    """
    zones: defaultdict[str, set[str]] = defaultdict(set)
    peers: defaultdict[str, set[str]] = defaultdict(set)
    for one in exported_services(world.policies.values()):
        zones[one.name].update(each.zone for each in one.consumers if each.zone)
        peers[one.name].update(each.peer for each in one.consumers if each.peer)

    def of(service: str) -> Consumers:
        named = frozenset(zones.get(service) or zones.get(WILDCARD) or EVERY_ZONE)
        others = peers.get(service, set()) | peers.get(WILDCARD, set())
        return Consumers(EVERY_ZONE if WILDCARD in named else named, frozenset(others))

    return {service: of(service) for service in _own(world)}


def exported(world: World) -> frozenset[str]:
    """Return the names of the services that somebody elsewhere may call: the gateway lets them in.

    A service whose last instance has just gone is still one.  Where all others are peers there is
    no zone to let anything in for, beside what the peers are named for.  (Who it is that asks the
    gateway cannot tell.)
    """
    only_peers = bool(world.zones) and all(zone.peer for zone in world.zones.values())
    return frozenset(
        service
        for service, told in consumers(world).items()
        if not only_peers or not told.peers.isdisjoint(world.zones)
    )


def _own(world: World) -> frozenset[str]:
    """Return the names of the zone's services.

    One that the catalog lost is still there as long as its instances are believed in: a registry
    that was restored empty has its services back one by one.  Gateways are none of them, nor is
    what leaves by egress: it is outside the mesh.
    """
    believed = (name for name, found in world.instances.items() if found)
    return world.catalog.union(believed) - set(GATEWAYS.values()) - world.entries.linked.keys()


def selections(world: World, service: str) -> tuple[Selection, ...]:
    """Return what of ``service`` can be called: all of it, and each subset that an entry names."""
    resolver = world.entries.resolvers.get(service)
    subsets = resolver.subsets if resolver is not None else {}
    return (
        Selection(Target(service)),
        *(
            Selection(Target(service, name), subset.filter, subset.only_passing)
            for name, subset in sorted(subsets.items())
        ),
    )


def exports(world: World, *, peer: str = "") -> Mapping[str, Exported]:
    """Return what the zones of the federation are told, or what ``peer`` is.

    A service whose instances are not known yet is left out, as is one without any: it may not
    be the mesh's at all.
    """
    found = {}
    for service, told in sorted(consumers(world).items()):
        if peer and peer not in told.peers:
            continue
        if world.instances.get(service):
            counts = {
                one.target.subset: _answering(selected(world, one))
                for one in selections(world, service)
            }
            healthy = counts.pop("")
            zones = () if peer or told.zones == EVERY_ZONE else tuple(sorted(told.zones))
            found[service] = Exported(world.protocol(service), healthy, counts, zones)
    return found


def _answering(instances: tuple[Instance, ...]) -> int:
    return sum(one.health is not Health.CRITICAL for one in instances)
