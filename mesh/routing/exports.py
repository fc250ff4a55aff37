"""Which of its services a zone lets others call, and how many instances answer there."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.model.destinations import Selection, Target
from mesh.model.proxies import GATEWAYS
from mesh.model.services import Health, Instance
from mesh.model.zones import Exported
from mesh.routing.instances import selected
from mesh.world.snapshot import World


def exported(world: World) -> frozenset[str]:
    """Return the names of the services that other zones may call.

    A service whose last instance has just gone is still one; and so is one that the catalog lost,
    as long as its instances are still believed in: a registry that was restored empty has its
    services back one by one.  Gateways are none of them, nor is what leaves by egress: it is
    outside the mesh.
    """
    believed = (name for name, found in world.instances.items() if found)
    named = world.catalog.union(believed)
    return named - set(GATEWAYS.values()) - world.entries.linked.keys()


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


def exports(world: World) -> Mapping[str, Exported]:
    """Return what other zones are told.

    A service whose instances are not known yet is left out, as is one without any: it may not
    be the mesh's at all.
    """
    found = {}
    for service in sorted(exported(world)):
        if world.instances.get(service):
            counts = {
                one.target.subset: _answering(selected(world, one))
                for one in selections(world, service)
            }
            healthy = counts.pop("")
            found[service] = Exported(world.protocol(service), healthy, counts)
    return found


def _answering(instances: tuple[Instance, ...]) -> int:
    return sum(one.health is not Health.CRITICAL for one in instances)
