"""A callee with its surroundings; and the zone's xDS server, for what arrives by discovery."""

from __future__ import annotations

from tests.envoy.bed import bed
from tests.xds.conftest import authority, limits, web, zone

__all__ = ["authority", "bed", "limits", "web", "zone"]
