"""Snapshots from parts: put together once, then renewed by what came in the place of what.

A session has some hundred resources, and a change is about one or two: the others are not looked
at, and a type of which nothing changed stays the same tuple, which spares whoever compares.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from mesh.envoy.resource import Resource, Snapshot
from mesh.render.parts import Part


@dataclass(slots=True, eq=False)
class Kept:
    """A part in use, by how many sessions, and what it rendered to.

    ``sessions`` says by which; it is left out where the part reads nothing of the world, as
    such a part never changes.
    """

    part: Part
    resources: tuple[Resource, ...]
    sessions: set[int] | None
    uses: int = 0


@dataclass(slots=True)
class News:
    """What is ``fresh`` for a session, by type and name, and the types of which it lost some."""

    fresh: dict[str, dict[str, Resource]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def take(self, before: Iterable[Resource], now: Iterable[Resource]) -> None:
        """Note that the session has ``now`` in the place of ``before``."""
        names = set()
        for resource in now:
            names.add((resource.type_url, resource.name))
            self.fresh.setdefault(resource.type_url, {})[resource.name] = resource
        for resource in before:
            if (resource.type_url, resource.name) not in names:
                self.lost.add(resource.type_url)


def exclusive(kept: tuple[Kept, ...], beside: tuple[Kept, ...]) -> Iterator[Resource]:
    """Yield what comes of those in ``kept`` that ``beside`` has not."""
    for one in kept:
        if one not in beside:
            yield from one.resources


def assemble(held: Iterable[Kept], types: Collection[str]) -> Snapshot:
    """Return all of ``types`` that comes of ``held``."""
    by_type: dict[str, dict[str, Resource]] = {type_url: {} for type_url in types}
    # Two upstreams may share a target, or be the same service on two ports.
    for kept in dict.fromkeys(held):
        for resource in kept.resources:
            found = by_type.get(resource.type_url)
            if found is not None:
                # Never two of one name, which Envoy would refuse: of upstreams that had to be
                # planned at different times the first is believed.
                found.setdefault(resource.name, resource)
    return {type_url: _sorted(found.values()) for type_url, found in by_type.items()}


def renewed(snapshot: Snapshot, news: News, held: Iterable[Kept]) -> Snapshot:
    """Return ``snapshot`` with ``news`` in it; it is that of a session that has ``held`` now."""
    # What is lost by one upstream another may still have: those types are put together anew.
    changed = {**snapshot, **assemble(held, news.lost)} if news.lost else {**snapshot}
    for type_url, fresh in news.fresh.items():
        if type_url not in news.lost:
            before = {one.name: one for one in snapshot[type_url]}
            now = before | fresh
            in_order = len(now) == len(before)
            changed[type_url] = tuple(now.values()) if in_order else _sorted(now.values())
    return changed


def _sorted(found: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(sorted(found, key=attrgetter("name")))
