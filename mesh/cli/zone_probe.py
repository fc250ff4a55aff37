"""What a zone's API shows to anybody who trusts the mesh: its certificate, its time, the bundle.

Asked without an admin token, so that a host which has only the trust bundle can ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mesh.clients.zone import ZoneAddress, ZoneClient


@dataclass(frozen=True, slots=True)
class Probe:
    """What was seen.  ``date`` is the zone's clock, whole seconds."""

    uri: str
    not_after: datetime
    date: datetime | None
    bundle: Mapping[str, Any]


async def probe(address: ZoneAddress) -> Probe:
    """Ask the zone at ``address`` for the bundle.

    Raises:
        ZoneError: it does not answer, is not trusted, or is not a zone.

    """
    async with ZoneClient(address) as zone:
        bundle = await zone.bundle()
        return Probe(zone.identity.uri, zone.certificate_expires_at, zone.date, bundle)
