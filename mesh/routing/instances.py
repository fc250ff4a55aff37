"""Which instances a selection has: those of this zone, or gateways, its own or another's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.model.destinations import Selection, Target
from mesh.model.names import OUTSIDE, ZONE_EGRESS
from mesh.model.services import Health, Instance
from mesh.routing.bexpr import evaluate
from mesh.world.snapshot import World


def selected(world: World, selection: Selection) -> tuple[Instance, ...]:
    """Return the instances of ``selection`` that may be sent to."""
    target = selection.target
    if selection.by_egress:
        if target.elsewhere and not gateways(world, target):
            return ()
        return world.instances.get(ZONE_EGRESS, ())
    if target.elsewhere:
        return gateways(world, target)
    found = world.instances.get(target.service, ())
    return tuple(_matching(world, selection, found))


def outside_instances(world: World, selection: Selection) -> tuple[Instance, ...]:
    """Return the instances of an external service as they are registered."""
    found = world.instances.get(f"{OUTSIDE}{selection.target.service}", ())
    return tuple(_matching(world, selection, found))


def gateways(world: World, target: Target) -> tuple[Instance, ...]:
    """Return where the zone of ``target`` lets calls to it in; nowhere if nobody answers there."""
    zone = world.zones.get(target.zone)
    exported = zone.services.get(target.service) if zone is not None else None
    if zone is None or exported is None or not exported.answering(target.subset):
        return ()
    return tuple(
        Instance(f"{zone.name}:{one.address}:{one.port}", zone.name, one.address, one.port)
        for one in zone.gateways
    )


def _matching(world: World, selection: Selection, found: Iterable[Instance]) -> Iterator[Instance]:
    for instance in found:
        if selection.only_passing and instance.health is not Health.PASSING:
            continue
        if selection.filter is None or evaluate(
            selection.filter, instance, service=selection.target.service, zone=world.zone
        ):
            yield instance
