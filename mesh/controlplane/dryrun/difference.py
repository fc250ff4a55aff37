"""What differs between two sets of resources of one proxy.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.envoy.resource import TYPE_URLS, Resource, Snapshot


@dataclass(frozen=True, slots=True)
class TypeDifference:
    """What becomes of the resources of one type, by name."""

    type_url: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def difference(before: Snapshot, after: Snapshot) -> tuple[TypeDifference, ...]:
    """Return what differs, the types in make-before-break order; nothing if nothing does."""
    return tuple(_types(before, after))


def renewed(before: Snapshot, after: Snapshot) -> tuple[Resource, ...]:
    """Return the resources of ``after`` that ``before`` has not, or has otherwise."""
    return tuple(
        resource
        for type_url, resources in after.items()
        if resources != before.get(type_url)
        for resource in resources
        if _versions(before, type_url).get(resource.name) != resource.version
    )


def _types(before: Snapshot, after: Snapshot) -> Iterator[TypeDifference]:
    for type_url in TYPE_URLS:
        old, new = _versions(before, type_url), _versions(after, type_url)
        if old != new:
            yield TypeDifference(
                type_url,
                added=tuple(sorted(new.keys() - old.keys())),
                changed=tuple(
                    sorted(name for name in new.keys() & old.keys() if new[name] != old[name])
                ),
                removed=tuple(sorted(old.keys() - new.keys())),
            )


def _versions(snapshot: Snapshot, type_url: str) -> dict[str, str]:
    return {resource.name: resource.version for resource in snapshot.get(type_url, ())}
