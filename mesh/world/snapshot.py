"""The world: everything the renderer may look at, in one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.model.entries import Entries
from mesh.model.intentions import IntentionsByDestination, JwtProvider
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance, Protocol
from mesh.policies.document import Document

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class World:
    """What the zone ``zone`` of the trust domain ``trust_domain`` knows.

    A service that ``instances`` does not name is *not known yet*, which differs from being
    known to have none.
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

    def protocol(self, service: str) -> Protocol:
        """Return what ``service`` speaks: its service-defaults, else proxy-defaults, else tcp."""
        return self.entries.protocol(service)
