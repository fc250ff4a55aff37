"""The steps of a walk through entries: where it stands, and which entry led there."""

from __future__ import annotations

from typing import NamedTuple

from mesh.model.destinations import Target


class Blame(NamedTuple):
    """What made a reference: the entry's label and the place in it."""

    entry: str
    path: str

    def at(self, name: str) -> Blame:
        """Point at a field below the place."""
        return Blame(self.entry, f"{self.path}.{name}" if self.path else name)


class Place(NamedTuple):
    """A service, a subset of it (or none) and a zone; an empty zone is our own."""

    service: str
    subset: str = ""
    zone: str = ""

    def moved(self, service: str, subset: str, zone: str) -> Place:
        """Return where a redirect or failover leads: what it leaves unsaid stays.

        A subset belongs to its service, so another service begins without one.
        """
        kept = self.subset if service in {"", self.service} else ""
        return Place(service or self.service, subset or kept, zone or self.zone)

    def __str__(self) -> str:
        """Write it as people name it: ``v2.api`` or ``v2.api (zone west)``."""
        name = Target(self.service, self.subset).name
        return f"{name} (zone {self.zone})" if self.zone else name

    @property
    def target(self) -> Target:
        """What calls that end here go to."""
        return Target(*self)


def label(kind: str, service: str) -> str:
    """Return how an entry of ``kind`` for ``service`` is named in origins and faults."""
    return f"service-{kind} {service}"
