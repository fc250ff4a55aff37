"""Parts under a MeshProxyPatch: what they render to, and then what the patches make of it.

Proxies that no patch concerns have the parts as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.envoy.resource import Resource
from mesh.policies.kinds import proxy_patch
from mesh.policies.kinds.proxy_patch import Operation, Patch
from mesh.policies.selection import Selection
from mesh.render.capture import Door
from mesh.render.parts import Part
from mesh.world.facets import Facet
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Patched(Part):
    """A part whose resources are changed by ``patches``."""

    part: Part
    patches: tuple[Patch, ...]

    def reads(self) -> tuple[Facet, ...]:
        """What the part itself reads."""
        return self.part.reads()

    def instead(self) -> Part:
        """Let the part itself stand in: a patch that does not fit must not take it away."""
        return self.part

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the part's resources, patched."""
        return proxy_patch.apply(self.patches, self.part.render(world))


@dataclass(frozen=True, slots=True)
class Added(Part):
    """Resources that ``patches`` bring in themselves."""

    patches: tuple[Patch, ...]

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return them."""
        return proxy_patch.apply(self.patches, ())


def patched(parts: tuple[Part, ...], said: Selection) -> tuple[Part, ...]:
    """Put ``parts`` under the patches among the policies ``said``.

    A door renders nothing: what patches say of its listener is done there.
    """
    changes = _patches(said, adding=False)
    if not changes:
        return parts
    return tuple(part if isinstance(part, Door) else Patched(part, changes) for part in parts)


def added(said: Selection) -> tuple[Part, ...]:
    """Return the part that brings in what patches among ``said`` add, if any does."""
    additions = _patches(said, adding=True)
    return (Added(additions),) if additions else ()


def _patches(said: Selection, *, adding: bool) -> tuple[Patch, ...]:
    return tuple(
        patch
        for document in said.of(proxy_patch.KIND.name)
        for patch in proxy_patch.patches(document)
        if (patch.operation is Operation.ADD) is adding
    )
