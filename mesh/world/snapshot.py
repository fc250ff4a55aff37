"""The world: everything the renderer may look at, in one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.model.intentions import IntentionsByDestination, JwtProvider
from mesh.model.services import Instance, Protocol, ProxyDefaults, ServiceDefaults

_EMPTY: Mapping[str, Any] = MappingProxyType({})


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
    service_defaults: Mapping[str, ServiceDefaults] = field(default_factory=lambda: _EMPTY)
    proxy_defaults: ProxyDefaults = field(default_factory=ProxyDefaults)
    jwt_providers: Mapping[str, JwtProvider] = field(default_factory=lambda: _EMPTY)
    virtual_addresses: Mapping[str, tuple[str, str]] = field(default_factory=lambda: _EMPTY)

    def protocol(self, service: str) -> Protocol:
        """Return what ``service`` speaks: its service-defaults, else proxy-defaults, else tcp."""
        entry = self.service_defaults.get(service)
        return entry.protocol if entry is not None else self.proxy_defaults.protocol
