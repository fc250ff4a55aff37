"""Other zones, as far as calls can go there.

A zone is one Consul datacenter.  Its instances are not known elsewhere, and not dialled from there:
calls go to one of its gateways, which sends them on by the name that they are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mesh.model.services import Protocol

_EMPTY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class Gateway:
    """Where a zone lets calls in: an IPv4 or IPv6 literal, and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Exported:
    """A service that a zone lets others call: how many instances answer, of all and by subset.

    ``zones`` are those that it is meant for; without, each is.
    """

    protocol: Protocol
    healthy: int
    subsets: Mapping[str, int] = field(default_factory=lambda: _EMPTY)
    zones: tuple[str, ...] = ()

    def answering(self, subset: str = "") -> int:
        """Return how many instances of ``subset`` (of all, without) answer."""
        return self.subsets.get(subset, 0) if subset else self.healthy


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of the mesh as another knows it.

    A ``peer`` is of another organisation: it has a trust domain of its own, its ``bundle`` is
    believed for that one only, and nothing goes there, or comes from there, unless it is named.
    ``bundle`` is PEM: the roots of the identities of its workloads.  ``distance`` is how long a
    packet takes there and back, in milliseconds, as far as it was measured; the nearer comes
    first.
    """

    name: str
    trust_domain: str
    bundle: str
    gateways: tuple[Gateway, ...] = ()
    services: Mapping[str, Exported] = field(default_factory=lambda: MappingProxyType({}))
    distance: float | None = None
    peer: bool = False

    @property
    def rank(self) -> tuple[float, str]:
        """What zones are ordered by; of those as near as each other the name decides."""
        return (float("inf") if self.distance is None else self.distance, self.name)
