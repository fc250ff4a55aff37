"""A zone's renderer, moved on by what is learnt, and its snapshots taken apart."""

from __future__ import annotations

from typing import Any

from mesh.envoy.resource import Snapshot, unpack
from mesh.render.renderer import Renderer
from mesh.world.changes import Change
from mesh.world.reduce import NOTHING, reduce
from mesh.world.snapshot import World


class Moving:
    """The renderer of one zone."""

    def __init__(self, world: World, *changes: Change) -> None:
        """Begin with ``world``, after ``changes``."""
        self.renderer = Renderer(world)
        self.say(*changes)

    def say(self, *changes: Change) -> dict[int, Snapshot]:
        """Move it on by ``changes``, and return whose snapshot is another."""
        world, touched = self.renderer.world, NOTHING
        for change in changes:
            world, more = reduce(world, change)
            touched |= more
        return self.renderer.advance(world, touched)


def names(snapshot: Snapshot, type_url: str) -> list[str]:
    """Return the names of the resources of a type, in order."""
    return [one.name for one in snapshot[type_url]]


def found(snapshot: Snapshot, type_url: str) -> dict[str, Any]:
    """Return the resources of a type, decoded, by name; no name stands twice."""
    decoded = {one.name: unpack(one) for one in snapshot[type_url]}
    assert sorted(decoded) == sorted(names(snapshot, type_url))
    return decoded
