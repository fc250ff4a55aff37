"""What the renderer holds of one proxy: what it was planned, and for whom."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from mesh.envoy.resource import Snapshot
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.policies.selection import Selection
from mesh.render.assembly import Kept
from mesh.render.capture import Door
from mesh.render.scope import Captured
from mesh.world.facets import Aspect


class Side(enum.Enum):
    """What a session has beside those that it calls."""

    OWN = "inbound side"
    CAPTURE = "capture side"
    """Only where something is captured.  Planned last: it is made of what was planned for those
    that are captured."""


Place = Side | Upstream | Captured
"""What a slot is for."""


class Slot(NamedTuple):
    """One side of a session, or one that it calls, as planned.

    ``services`` are those whose instances it depends on; ``planned`` is false as long as some
    of them are not known, and then ``kept`` is what it was before.
    """

    kept: tuple[Kept, ...]
    services: frozenset[str]
    planned: bool

    @property
    def follows(self) -> frozenset[str]:
        """The services whose instances its parts tell of."""
        facets = (facet for one in self.kept for facet in one.part.reads())
        return frozenset(facet.name for facet in facets if facet.aspect is Aspect.INSTANCES)


EMPTY: Final = Slot((), frozenset(), planned=False)
"""What nothing was planned for yet."""


@dataclass(slots=True)
class Session:
    """One proxy.

    ``slots`` are its inbound side, its upstreams in order, whom it may call by what it captures,
    and its capture side; ``asks`` are the services that its inbound side calls itself.
    """

    need: ProxyNeed
    said: Selection
    slots: dict[Place, Slot]
    snapshot: Snapshot
    asks: tuple[str, ...] = ()

    @property
    def calls(self) -> set[str]:
        """The services that its application may call."""
        return {place.called for place in self.slots if not isinstance(place, Side)}

    @property
    def doors(self) -> list[Door]:
        """The doors of those that are captured, as far as they are planned, in order of names."""
        captured = (slot for place, slot in self.slots.items() if isinstance(place, Captured))
        parts = (one.part for slot in captured for one in slot.kept)
        found = [part for part in parts if isinstance(part, Door)]
        # In the order in which they came, the same doors would make another listener.
        return sorted(found, key=lambda door: door.called)

    def described(self, place: Place) -> str:
        """Say what the slot at ``place`` is for."""
        if isinstance(place, Side):
            return f"{place.value} of {self.need.service}"
        return f"calls of {self.need.service} to {place.called}"

    def held(self) -> Iterator[Kept]:
        """Yield every part it has, those that slots share more than once."""
        return (kept for slot in self.slots.values() for kept in slot.kept)
