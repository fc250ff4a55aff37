"""``reduce(world, change)``: the world after a piece of news, and what of it differs.

Pure and total: news that says nothing new returns the same world and touches no facet.  As
every change is a complete statement about its subject, the world after a set of changes does
not depend on the order of changes about different subjects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
    VirtualAddressesChanged,
)
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

Touched = frozenset[Facet]
NOTHING: Touched = frozenset()


def reduce(world: World, change: Change) -> tuple[World, Touched]:  # noqa: PLR0911 one per change
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
        case VirtualAddressesChanged():
            return _field(world, Aspect.VIRTUAL_ADDRESSES, virtual_addresses=dict(change.addresses))
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
    return replace(world, instances={**world.instances, change.service: after}), frozenset(touched)


def _forgotten(world: World, change: InstancesForgotten) -> tuple[World, Touched]:
    if change.service not in world.instances:
        return world, NOTHING
    kept = {name: found for name, found in world.instances.items() if name != change.service}
    touched = {Facet(Aspect.INSTANCES, change.service), Facet(Aspect.KNOWN, change.service)}
    return replace(world, instances=kept), frozenset(touched)


def _intentions(world: World, change: IntentionsChanged) -> tuple[World, Touched]:
    after = change.by_destination
    touched = frozenset(
        Facet(Aspect.INTENTIONS, name) for name in _differing(world.intentions, after)
    )
    return (replace(world, intentions=after), touched) if touched else (world, NOTHING)


def _config_entries(world: World, change: ConfigEntriesChanged) -> tuple[World, Touched]:
    touched = {
        Facet(Aspect.PROTOCOL, name)
        for name in _differing(world.service_defaults, change.service_defaults)
    }
    if change.proxy_defaults != world.proxy_defaults:
        touched.add(Facet(Aspect.PROXY_DEFAULTS))
    if change.jwt_providers != world.jwt_providers:
        touched.add(Facet(Aspect.JWT_PROVIDERS))
    if not touched:
        return world, NOTHING
    after = replace(
        world,
        service_defaults=dict(change.service_defaults),
        proxy_defaults=change.proxy_defaults,
        jwt_providers=dict(change.jwt_providers),
    )
    return after, frozenset(touched)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
