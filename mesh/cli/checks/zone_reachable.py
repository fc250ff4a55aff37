"""The zone's API answers, and its certificate lives on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mesh.aio.clock import Clock
from mesh.cli.checks import expiry
from mesh.cli.checks.model import Finding, ok
from mesh.cli.checks.surroundings import ZonePlace
from mesh.cli.zone_probe import probe


class ZoneReachable:
    """Opens a connection that trusts the mesh's bundle only."""

    title = "the zone's API answers"
    vital = True

    def __init__(self, place: ZonePlace, clock: Clock) -> None:
        """Dial ``place``."""
        self._place = place
        self._clock = clock

    async def run(self) -> Sequence[Finding]:
        """Connect, and look at the certificate."""
        address = self._place.address
        seen = await probe(address)
        said = ok(f"{seen.uri} answers at {address}")
        return [said, judge(seen.not_after, self._clock.now())]


def judge(not_after: datetime, now: datetime) -> Finding:
    """Say whether the zone's certificate will last."""
    return expiry.judge(
        "the zone's certificate",
        not_after,
        now,
        soon=expiry.LEAF_ENDS_SOON,
        expired="The zone cannot renew it: see `mesh ca status` and the zone's log.",
        late="It should have been renewed by now: see the zone's log.",
    )
