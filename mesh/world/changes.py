"""News from the sources, each a complete statement about its subject.

A change says what *is*, never what to add: applying one twice, or only the last of several
about the same subject, gives the same world.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from mesh.model.entries import Entries
from mesh.model.intentions import Intention, IntentionsByDestination, JwtProvider
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance
from mesh.model.zones import Zone
from mesh.policies.document import Document


@dataclass(frozen=True, slots=True)
class InstancesChanged:
    """The instances that answer for ``service`` (its sidecars), healthy or not."""

    service: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class InstancesForgotten:
    """Nobody follows ``service`` any more: what was known of its instances would grow stale."""

    service: str


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """Names of all services registered in the zone, sidecar registrations left out."""

    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class IntentionsChanged:
    """Every intention of the zone, by destination, each group in a steady order.

    A source that hands on an unchanged group as the same object spares everybody who compares:
    one intention of twenty thousand changes at a time.
    """

    by_destination: IntentionsByDestination

    @classmethod
    def of(cls, intentions: Iterable[Intention]) -> Self:
        """Group ``intentions``."""
        groups: defaultdict[str, list[Intention]] = defaultdict(list)
        for intention in sorted(intentions, key=lambda one: (one.source, one.id)):
            groups[intention.destination].append(intention)
        return cls({destination: tuple(found) for destination, found in groups.items()})


@dataclass(frozen=True, slots=True)
class DefaultPolicyChanged:
    """Whether a call that no intention matches is allowed."""

    allow: bool


@dataclass(frozen=True, slots=True)
class ConfigEntriesChanged:
    """Every configuration entry that the mesh understands, intentions left out."""

    entries: Entries
    jwt_providers: Mapping[str, JwtProvider]


@dataclass(frozen=True, slots=True)
class PoliciesChanged:
    """Every policy of the mesh, by kind and name."""

    policies: Mapping[tuple[str, str], Document]


@dataclass(frozen=True, slots=True)
class RolloutsChanged:
    """Where every rollout stands, by the service whose calls it divides."""

    rollouts: Mapping[str, Rollout]


@dataclass(frozen=True, slots=True)
class VirtualAddressesChanged:
    """The virtual IPs allocated so far: service to (IPv4, IPv6)."""

    addresses: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ZonesChanged:
    """Every other zone that is known, by name, and whether there are peers, known or invited."""

    zones: Mapping[str, Zone]
    peering: bool = False


Change = (
    InstancesChanged
    | InstancesForgotten
    | CatalogChanged
    | IntentionsChanged
    | DefaultPolicyChanged
    | ConfigEntriesChanged
    | PoliciesChanged
    | RolloutsChanged
    | VirtualAddressesChanged
    | ZonesChanged
)
