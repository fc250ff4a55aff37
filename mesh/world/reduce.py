"""``reduce(world, change)``: the world after a piece of news, and what of it differs.

Pure and total: news that says nothing new returns the same world and touches no facet.  As
every change is a complete statement about its subject, the world after a set of changes does
not depend on the order of changes about different subjects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, assert_never

from mesh.model.entries import Entries
from mesh.model.names import WILDCARD
from mesh.model.services import Protocol
from mesh.model.zones import Zone
from mesh.policies.document import Document
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
    PoliciesChanged,
    RolloutsChanged,
    VirtualAddressesChanged,
    ZonesChanged,
)
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

K = TypeVar("K")

Touched = frozenset[Facet]
NOTHING: Touched = frozenset()
_ENTRY_KINDS: Final = tuple(
    name for name in Entries.__dataclass_fields__ if name != "proxy_defaults"
)


def reduce(world: World, change: Change) -> tuple[World, Touched]:  # noqa: C901, PLR0911 one per change
    """Return the world after ``change`` and the facets in which it differs from ``world``."""
    match change:
        case InstancesChanged():
            return _instances(world, change)
        case InstancesForgotten():
            return _forgotten(world, change)
        case CatalogChanged():
            return _field(world, Aspect.CATALOG, catalog=change.services)
        case IntentionsChanged():
            return _intentions(world, change)
        case DefaultPolicyChanged():
            return _field(world, Aspect.DEFAULT_POLICY, default_allow=change.allow)
        case ConfigEntriesChanged():
            return _config_entries(world, change)
        case PoliciesChanged():
            return _policies(world, change)
        case RolloutsChanged():
            return _rollouts(world, change)
        case VirtualAddressesChanged():
            return _field(world, Aspect.VIRTUAL_ADDRESSES, virtual_addresses=dict(change.addresses))
        case ZonesChanged():
            return _zones(world, change)
        case _:
            assert_never(change)


def _field(world: World, aspect: Aspect, **changed: Any) -> tuple[World, Touched]:
    """Replace the one field ``changed``, which is the whole of ``aspect``."""
    ((name, value),) = changed.items()
    if getattr(world, name) == value:
        return world, NOTHING
    return replace(world, **changed), frozenset({Facet(aspect)})


def _instances(world: World, change: InstancesChanged) -> tuple[World, Touched]:
    before = world.instances.get(change.service)
    after = tuple(sorted(change.instances, key=lambda found: (found.node, found.id)))
    if before == after:
        return world, NOTHING
    touched = {Facet(Aspect.INSTANCES, change.service)}
    if before is None:
        touched.add(Facet(Aspect.KNOWN, change.service))
    if bool(before) is not bool(after):
        touched.add(Facet(Aspect.PRESENT, change.service))
    return replace(world, instances={**world.instances, change.service: after}), frozenset(touched)


def _forgotten(world: World, change: InstancesForgotten) -> tuple[World, Touched]:
    if change.service not in world.instances:
        return world, NOTHING
    kept = {name: found for name, found in world.instances.items() if name != change.service}
    touched = {Facet(Aspect.INSTANCES, change.service), Facet(Aspect.KNOWN, change.service)}
    if world.instances[change.service]:
        touched.add(Facet(Aspect.PRESENT, change.service))
    return replace(world, instances=kept), frozenset(touched)


def _intentions(world: World, change: IntentionsChanged) -> tuple[World, Touched]:
    after = change.by_destination
    touched = frozenset(
        Facet(Aspect.INTENTIONS, name) for name in _differing(world.intentions, after)
    )
    return (replace(world, intentions=after), touched) if touched else (world, NOTHING)


def _config_entries(world: World, change: ConfigEntriesChanged) -> tuple[World, Touched]:
    before, after = world.entries, change.entries
    touched = {
        Facet(Aspect.ENTRIES, name)
        for kind in _ENTRY_KINDS
        for name in _differing(getattr(before, kind), getattr(after, kind))
    }
    if after.proxy_defaults != before.proxy_defaults:
        touched.add(Facet(Aspect.PROXY_DEFAULTS))
    if change.jwt_providers != world.jwt_providers:
        touched.add(Facet(Aspect.JWT_PROVIDERS))
    if not touched:
        return world, NOTHING
    renewed = replace(world, entries=after, jwt_providers=dict(change.jwt_providers))
    return renewed, frozenset(touched)


def _policies(world: World, change: PoliciesChanged) -> tuple[World, Touched]:
    differing = _differing(world.policies, change.policies)
    if not differing:
        return world, NOTHING
    touched: set[Facet] = set()
    for key in differing:
        for document in (world.policies.get(key), change.policies.get(key)):
            if document is not None:
                touched |= _concerns(document)
    return replace(world, policies=dict(change.policies)), frozenset(touched)


def _rollouts(world: World, change: RolloutsChanged) -> tuple[World, Touched]:
    touched = frozenset(
        Facet(Aspect.POLICIES_TO, name) for name in _differing(world.rollouts, change.rollouts)
    )
    if not touched:
        return world, NOTHING
    return replace(world, rollouts=dict(change.rollouts)), touched


def _zones(world: World, change: ZonesChanged) -> tuple[World, Touched]:
    renewed = replace(world, zones=dict(change.zones), peering=change.peering)
    touched: set[Facet] = set()
    if world.peering is not change.peering:
        touched.add(Facet(Aspect.ZONES))
    if not touched and renewed.zones == world.zones:
        return world, NOTHING
    # Only a count, or a distance that changes no order: the world is another, and nobody minds.
    return renewed, frozenset(touched | _differing_zones(world, renewed))


def _differing_zones(world: World, renewed: World) -> set[Facet]:
    touched: set[Facet] = set()
    differing = _differing(world.zones, renewed.zones)
    services: set[str] = set()
    for name in differing:
        before, after = world.zones.get(name), renewed.zones.get(name)
        if before is None or after is None or _whom(before) != _whom(after):
            touched.add(Facet(Aspect.ZONES))
        if before is None or after is None or before.gateways != after.gateways:
            touched.add(Facet(Aspect.GATEWAYS, name))
        if before is not None and after is not None and before.rank == after.rank:
            services |= _differing(before.services, after.services)
        else:
            for zone in (before, after):
                services.update(zone.services if zone is not None else ())
    for service in services:
        if _exports(world, service) != _exports(renewed, service):
            touched.add(Facet(Aspect.EXPORTS, service))
        if _answering(world, service) != _answering(renewed, service):
            touched.add(Facet(Aspect.ANSWERING, service))
    return touched


def _whom(zone: Zone) -> tuple[str, str, bool]:
    return zone.trust_domain, zone.bundle, zone.peer


def _exports(world: World, service: str) -> list[tuple[str, Protocol, frozenset[str]]]:
    return [
        (zone.name, exported.protocol, frozenset(exported.subsets))
        for zone in world.exporters(service)
        if (exported := zone.services[service])
    ]


def _answering(world: World, service: str) -> set[tuple[str, str]]:
    found = set()
    for zone in world.exporters(service):
        exported = zone.services[service]
        found |= {
            (zone.name, subset) for subset in ("", *exported.subsets) if exported.answering(subset)
        }
    return found


def _concerns(document: Document) -> set[Facet]:
    """Return what ``document`` may change."""
    touched = set()
    for to in getattr(document.spec, "to", ()):
        # A route is known by name only; which services it serves is its own document's affair.
        named = to.target_ref.kind in {"MeshService", "MeshExternalService"}
        touched.add(Facet(Aspect.POLICIES_TO, to.target_ref.name if named else WILDCARD))
    for service in document.spec.about(document.name):
        touched.add(Facet(Aspect.POLICIES_TO, service))
    rules: tuple[object, ...] = getattr(document.spec, "rules", ())
    if rules or not touched:
        touched.add(Facet(Aspect.POLICIES_AT))
    return touched


def _differing(before: Mapping[K, Any], after: Mapping[K, Any]) -> set[K]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
