"""The zone is ready, and its issuer lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from mesh.aio.clock import Clock
from mesh.cli import times
from mesh.cli.checks import expiry
from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.cli.checks.surroundings import ZonePlace

_ISSUER_ENDS_SOON: Final = timedelta(hours=24)


class ZoneStatus:
    """Reads the zone's own account of itself."""

    title = "the zone is ready"
    vital = True

    def __init__(self, place: ZonePlace, clock: Clock) -> None:
        """Ask the zone at ``place``."""
        self._place = place
        self._clock = clock

    async def run(self) -> Sequence[Finding]:
        """Read the status."""
        async with self._place.client() as zone:
            return judge(await zone.status(), self._clock.now())


def judge(status: Mapping[str, Any], now: datetime) -> list[Finding]:
    """Say what the zone lacks and warns of."""
    found = [
        failure(f"the zone is not ready: {reason}", "See the zone's log.")
        for reason in status.get("reasons", ())
    ]
    if not found:
        proxies, services = status["proxies"], status["services"]
        found.append(
            ok(f"zone {status['zone']} is ready: {services} services, {proxies} proxies here")
        )
    expires = status.get("ca_expires_at")
    if expires:
        found.append(_issuer(status["ca_mode"], times.read(expires), now))
    found += [
        warning(f"the zone warns: {each}", "See `mesh ca status` and the zone's log.")
        for each in status.get("warnings", ())
    ]
    return found


def _issuer(mode: str, end: datetime, now: datetime) -> Finding:
    return expiry.judge(
        f"the issuer ({mode})",
        end,
        now,
        soon=_ISSUER_ENDS_SOON,
        expired="No certificate can be signed: see the zone's log, and Vault.",
        late="It should have been renewed by now: see the zone's log, and Vault.",
    )
