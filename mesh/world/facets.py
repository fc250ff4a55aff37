"""Facets: the smallest parts of the world that can change alone.

The reducer names the facets that a change touched; whoever derived something from the world
remembers which facets it read.  The meeting of the two is all that must be derived again.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Aspect(enum.Enum):
    """What a facet is about; each says what the facet's name names."""

    INSTANCES = "instances"
    """A service's instances."""
    KNOWN = "known"
    """Whether a service's instances are known at all."""
    PRESENT = "present"
    """Whether a service has any instance."""
    CATALOG = "catalog"
    """The names of services (no name)."""
    INTENTIONS = "intentions"
    """The intentions of a destination, ``*`` included."""
    DEFAULT_POLICY = "default-policy"
    """What happens to a call that no intention matches (no name)."""
    ENTRIES = "entries"
    """What configuration entries say about a service: protocol, routes, splits, subsets."""
    PROXY_DEFAULTS = "proxy-defaults"
    """What services without defaults of their own speak (no name)."""
    POLICIES_TO = "policies-to"
    """How calls to a service are treated by policies; ``*`` for policies about every service."""
    POLICIES_AT = "policies-at"
    """What policies do at the proxies they select, whatever is called (no name)."""
    JWT_PROVIDERS = "jwt-providers"
    """The token issuers (no name)."""
    VIRTUAL_ADDRESSES = "virtual-addresses"
    """The allocated virtual IPs (no name)."""
    EXPORTS = "exports"
    """Which other zones let a service be called, which of its subsets, and who is nearest."""
    ANSWERING = "answering"
    """Of which other zones instances of a service, or of a subset of it, answer."""
    GATEWAYS = "gateways"
    """Where another zone lets calls in."""
    ZONES = "zones"
    """Which other zones there are, whom to believe there, and if there is peering (no name)."""


class Facet(NamedTuple):
    """One aspect of one thing."""

    aspect: Aspect
    name: str = ""
