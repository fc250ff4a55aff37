"""Which zones stand in for the caller's own: where no entry says it, policies or distance do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mesh.model.destinations import Destination, Selection, Target, ZoneRule
from mesh.model.services import Protocol
from mesh.model.zones import Zone
from mesh.world.snapshot import World


def elsewhere(
    world: World, target: Target, protocol: Protocol, rules: Sequence[ZoneRule] | None
) -> tuple[Selection, ...]:
    """Return what calls to ``target`` turn to in other zones once nobody answers here.

    Those zones count that let the service be called, have the subset, and speak its protocol.
    A target that names a zone has nobody to stand in for it.  A peer stands in only where a rule
    names it: a service of another organisation is another one, whatever it is called.
    """
    if target.zone or not world.zones:
        return ()
    able = {zone.name: zone for zone in world.exporters(target.service) if _has(zone, target)}
    spoken = {name for name, zone in able.items() if _speaks(zone, target, protocol)}
    own = {name: zone for name, zone in able.items() if not zone.peer}
    order = own if rules is None else _by_rules(rules, world.zone, able)
    return tuple(
        Selection(Target(target.service, target.subset, name)) for name in order if name in spoken
    )


def _has(zone: Zone, target: Target) -> bool:
    return not target.subset or target.subset in zone.services[target.service].subsets


def _speaks(zone: Zone, target: Target, protocol: Protocol) -> bool:
    # What speaks HTTP here and bytes there would be parsed on one side only.
    return zone.services[target.service].protocol.is_http is protocol.is_http


def _by_rules(rules: Sequence[ZoneRule], own: str, able: dict[str, Zone]) -> dict[str, None]:
    order: dict[str, None] = {}
    for rule in rules:
        if not rule.origins or own in rule.origins:
            order.update(dict.fromkeys(_named(rule, able)))
    return order


def _named(rule: ZoneRule, able: dict[str, Zone]) -> Iterator[str]:
    if rule.others:
        yield from (name for name in able if name not in rule.zones and not able[name].peer)
    else:
        yield from (name for name in rule.zones if name in able)


@dataclass(frozen=True, slots=True)
class Considered:
    """Another zone as a place for calls: ``verdict`` says why it is one, or why not."""

    zone: Zone
    verdict: str
    is_tried: bool


def considered(world: World, destination: Destination) -> tuple[Considered, ...]:
    """Return what was thought of each other zone for ``destination``, in the order of trying."""
    if destination.external is not None or destination.selection.is_outside:
        return ()
    tried = {one.target.elsewhere: one.target for one in destination.selections}
    tried.pop("", None)
    zones = [world.zones[name] for name in tried if name in world.zones]
    rest = [zone for zone in world.zones.values() if zone.name not in tried]
    found = [Considered(zone, _fitness(zone, tried[zone.name]), is_tried=True) for zone in zones]
    target = destination.target
    for zone in sorted(rest, key=lambda one: one.rank):
        if target.zone:
            why = "calls are meant for one zone only"
        elif target.service not in zone.services:
            why = f"does not let {target.service} be called"
        elif not _has(zone, target):
            why = f"has no subset {target.subset}"
        elif not _speaks(zone, target, destination.protocol):
            why = f"speaks {zone.services[target.service].protocol.value} there"
        elif zone.peer:
            why = "is a peer, which stands in only where it is named"
        else:
            why = "left out by a policy or an entry"
        found.append(Considered(zone, why, is_tried=False))
    return tuple(found)


def _fitness(zone: Zone, target: Target) -> str:
    exported = zone.services.get(target.service)
    if exported is None:
        return f"does not let {target.service} be called"
    if not zone.gateways:
        return "has no gateway"
    answering = exported.answering(target.subset)
    return f"{answering} answer there" if answering else "nobody answers there"
