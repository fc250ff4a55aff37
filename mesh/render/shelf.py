"""The parts that sessions have: each is rendered once, however many have it.

A part is kept for as long as somebody uses it, and rendered again when something that it reads
has changed.  One that cannot be rendered stays what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeVar

from mesh.envoy.resource import Resource
from mesh.render.assembly import Kept, News
from mesh.render.parts import Part
from mesh.world.facets import Aspect, Facet
from mesh.world.reduce import Touched
from mesh.world.snapshot import World

K = TypeVar("K")
V = TypeVar("V")


class Shelf:
    """All parts in use, as they come out in a world that moves on."""

    def __init__(self, world: World) -> None:
        """Start empty."""
        self.world = world
        self.broken: dict[Part | str, Exception] = {}
        """What could not be rendered; what there was before stands."""
        self._kept: dict[Part, Kept] = {}
        self._readers: defaultdict[Facet, set[Part]] = defaultdict(set)

    @property
    def is_empty(self) -> bool:
        """Whether nobody uses anything."""
        return not (self._kept or self._readers)

    def use(self, session: int, part: Part) -> Kept:
        """Return ``part`` as it is rendered, for ``session`` to have."""
        kept = self._kept.get(part)
        if kept is None:
            reads = part.reads()
            kept = self._kept[part] = Kept(part, (), set() if reads else None)
            kept.resources = self._render(kept)
            for facet in reads:
                self._readers[facet].add(part)
        kept.uses += 1
        if kept.sessions is not None:
            kept.sessions.add(session)
        return kept

    def release(self, kept: Kept) -> None:
        """Take back one use."""
        kept.uses -= 1
        if not kept.uses:
            del self._kept[kept.part]
            self.broken.pop(kept.part, None)
            for facet in kept.part.reads():
                remove(self._readers, facet, kept.part)

    def render_again(self, touched: Touched, affected: Mapping[int, News]) -> None:
        """Render the parts that read a touched facet; tell who has one that came out new."""
        for part in {part for facet in touched for part in self._readers.get(facet, ())}:
            kept = self._kept[part]
            if not self._knows(part):
                # Not known any more, which is not to have none: what there was stands.
                continue
            rendered = self._render(kept)
            if rendered != kept.resources:
                for number in kept.sessions or ():
                    affected[number].take(kept.resources, rendered)
                kept.resources = rendered

    def _knows(self, part: Part) -> bool:
        """Whether the instances of every service that ``part`` tells of are known."""
        return all(
            facet.name in self.world.instances
            for facet in part.reads()
            if facet.aspect is Aspect.INSTANCES
        )

    def _render(self, kept: Kept) -> tuple[Resource, ...]:
        """Render a part again, or keep what it is: one that fails must not stop the others."""
        part: Part | None = kept.part
        self.broken.pop(kept.part, None)
        while part is not None:
            try:
                return part.render(self.world)
            except Exception as error:  # noqa: BLE001 - whatever the input broke; the owner logs it
                self.broken.setdefault(kept.part, error)
                part = part.instead()
        return kept.resources


def remove(index: dict[K, set[V]], key: K, value: V) -> None:
    """Take ``value`` from those of ``key``, and ``key`` from the index if it was the last."""
    found = index[key]
    found.discard(value)
    if not found:
        del index[key]
