"""The world: everything the renderer may look at, in one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.model.entries import Entries
from mesh.model.identity import WorkloadId
from mesh.model.intentions import IntentionsByDestination, JwtProvider
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance, Protocol
from mesh.model.zones import Zone
from mesh.policies.document import Document

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class World:
    """What the zone ``zone`` of the trust domain ``trust_domain`` knows.

    A service that ``instances`` does not name is *not known yet*, which differs from being
    known to have none.  ``zones`` are the others.  ``api`` is where this zone's own control plane
    answers (``host:port``), which peers reach through a gateway as long as there is ``peering``:
    as long as there is a peer, or one is invited.
    """

    zone: str
    trust_domain: str
    catalog: frozenset[str] = frozenset()
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=lambda: _EMPTY)
    intentions: IntentionsByDestination = field(default_factory=lambda: _EMPTY)
    default_allow: bool = False
    entries: Entries = field(default_factory=Entries)
    policies: Mapping[tuple[str, str], Document] = field(default_factory=lambda: _EMPTY)
    rollouts: Mapping[str, Rollout] = field(default_factory=lambda: _EMPTY)
    jwt_providers: Mapping[str, JwtProvider] = field(default_factory=lambda: _EMPTY)
    virtual_addresses: Mapping[str, tuple[str, str]] = field(default_factory=lambda: _EMPTY)
    zones: Mapping[str, Zone] = field(default_factory=lambda: _EMPTY)
    api: str = ""
    peering: bool = False

    @property
    def peers(self) -> Mapping[str, Zone]:
        """Those of the other zones that are peers."""
        return {name: zone for name, zone in self.zones.items() if zone.peer}

    def is_peer(self, zone: str) -> bool:
        """Whether the other zone called ``zone`` is a peer."""
        known = self.zones.get(zone)
        return known is not None and known.peer

    def identity(self, service: str, zone: str = "") -> WorkloadId:
        """Return who ``service`` of ``zone`` is (empty: of this one).

        A zone that is not known is taken for one of our trust domain, as Consul's datacenters are.
        """
        known = self.zones.get(zone)
        domain = self.trust_domain if known is None else known.trust_domain
        return WorkloadId(domain, zone or self.zone, service)

    def exporters(self, service: str) -> tuple[Zone, ...]:
        """Return the other zones in which ``service`` may be called, the nearest first.

        Peers are among them.
        """
        found = [zone for zone in self.zones.values() if service in zone.services]
        return tuple(sorted(found, key=lambda zone: zone.rank))

    def protocol(self, service: str, zone: str = "") -> Protocol:
        """Return what ``service`` speaks: its service-defaults, else proxy-defaults, else tcp.

        What is called in a peer speaks what the peer says; it has entries of its own.
        """
        if self.is_peer(zone):
            exported = self.zones[zone].services.get(service)
            return exported.protocol if exported is not None else Protocol.TCP
        return self.entries.protocol(service)
