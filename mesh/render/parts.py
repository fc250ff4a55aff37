"""A part: a key that names all it depends on, and the resources that follow from it.

Equal keys render to the same objects, whoever asks, so that a thousand callers of a service
share one cluster's bytes.  Whatever a part takes from the world beyond its key it declares in
``reads``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from mesh.envoy.resource import Resource
from mesh.world.facets import Facet
from mesh.world.snapshot import World

T_co = TypeVar("T_co", covariant=True)


class Same(Generic[T_co]):
    """A value in a key that is compared by identity: what is equal was made one object before."""

    __slots__ = ("value",)

    def __init__(self, value: T_co) -> None:
        """Hold ``value``."""
        self.value = value

    def __eq__(self, other: object) -> bool:
        """Whether the other holds this very object."""
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        """Hash the identity."""
        return id(self.value)


class Part(ABC):
    """Subclasses are frozen dataclasses: their fields are the key."""

    __slots__ = ()

    def reads(self) -> tuple[Facet, ...]:
        """Return the facets of the world that :meth:`render` looks at."""
        return ()

    def instead(self) -> Part | None:
        """Return the part that stands in for this one while it cannot be rendered, if any does."""
        return None

    @abstractmethod
    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the resources of this part."""
