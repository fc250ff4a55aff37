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
)
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

K = TypeVar("K")

Touched = frozenset[Facet]
NOTHING: Touched = frozenset()
_ENTRY_KINDS: Final = tuple(
    name for name in Entries.__dataclass_fields__ if name != "proxy_defaults"
)


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
        case PoliciesChanged():
            return _policies(world, change)
        case RolloutsChanged():
            return _rollouts(world, change)
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
