"""A part: a key that names all it depends on, and the resources that follow from it.

Equal keys render to the same objects, whoever asks, so that a thousand callers of a service
share one cluster's bytes.  Whatever a part takes from the world beyond its key it declares in
``reads``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from mesh.envoy.resource import Resource
from mesh.world.facets import Facet
from mesh.world.snapshot import World


class Part(ABC):
    """Subclasses are frozen dataclasses: their fields are the key."""

    __slots__ = ()

    def reads(self) -> tuple[Facet, ...]:
        """Return the facets of the world that :meth:`render` looks at."""
        return ()

    @abstractmethod
    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the resources of this part."""
