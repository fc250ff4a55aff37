"""Every proxy has what it should have, and a certificate that lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mesh.aio.clock import Clock
from mesh.cli import times
from mesh.cli.checks import expiry
from mesh.cli.checks.model import Finding, Level, failure, ok, warning
from mesh.cli.checks.surroundings import ZonePlace
from mesh.cli.proxies import state


class ZoneProxies:
    """Asks the zone about its proxies."""

    title = "proxies in sync"
    vital = False

    def __init__(self, place: ZonePlace, clock: Clock) -> None:
        """Ask the zone at ``place``."""
        self._place = place
        self._clock = clock

    async def run(self) -> Sequence[Finding]:
        """List the proxies."""
        async with self._place.client() as zone:
            answer = await zone.proxies()
        return judge(answer["proxies"], self._clock.now())


def judge(proxies: Sequence[Mapping[str, Any]], now: datetime) -> list[Finding]:
    """Name each proxy that lags or refuses, or whose certificate ends."""
    found = [finding for proxy in proxies for finding in (*_sync(proxy), *_identity(proxy, now))]
    return found or [ok(f"{len(proxies)} proxies, all in sync")]


def _sync(proxy: Mapping[str, Any]) -> list[Finding]:
    refuses = any(each.get("nack") for each in proxy.get("types", ()))
    if proxy["in_sync"] and not refuses:
        return []
    remedy = f"See `mesh config --proxy {proxy['id']}` and the log of its Envoy."
    text = f"proxy {proxy['id']}: {state(proxy)}"
    return [failure(text, remedy) if refuses else warning(text, remedy)]


def _identity(proxy: Mapping[str, Any], now: datetime) -> list[Finding]:
    expires = proxy.get("certificate_expires_at")
    if not expires:
        return []
    remedy = f"See the log of `mesh proxy` for {proxy['id']}: it could not renew."
    found = expiry.judge(
        f"the certificate of proxy {proxy['id']}",
        times.read(expires),
        now,
        soon=expiry.LEAF_ENDS_SOON,
        expired=remedy,
        late=remedy,
    )
    return [] if found.level is Level.OK else [found]
