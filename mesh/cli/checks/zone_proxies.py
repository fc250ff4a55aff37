"""Every proxy has what it should have, and a certificate that lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mesh.aio.clock import Clock
from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.cli.checks.surroundings import ENDS_SOON, ZonePlace, remaining
from mesh.cli.consul import read_token
from mesh.cli.proxies import state
from mesh.clients.zone import ZoneClient


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
        token = read_token(self._place.admin_token_file, "admin token", "--admin-token-file")
        async with ZoneClient(self._place.address, token) as zone:
            answer = await zone.proxies()
        return judge(answer["proxies"], self._clock.now())


def judge(proxies: Sequence[Mapping[str, Any]], now: datetime) -> list[Finding]:
    """Name each proxy that lags or refuses, or whose certificate ends."""
    found = [finding for proxy in proxies for finding in (*_sync(proxy), *_identity(proxy, now))]
    return found or [ok(f"{len(proxies)} proxies, all in sync")]


def _sync(proxy: Mapping[str, Any]) -> list[Finding]:
    if proxy["in_sync"] and not any(each.get("nack") for each in proxy.get("types", ())):
        return []
    remedy = f"See `mesh config --proxy {proxy['id']}` and the log of its Envoy."
    text = f"proxy {proxy['id']}: {state(proxy)}"
    refuses = any(each.get("nack") for each in proxy.get("types", ()))
    return [failure(text, remedy) if refuses else warning(text, remedy)]


def _identity(proxy: Mapping[str, Any], now: datetime) -> list[Finding]:
    expires = proxy.get("certificate_expires_at")
    if not expires:
        return []
    end = datetime.fromisoformat(expires)
    remedy = f"See the log of `mesh proxy` for {proxy['id']}: it could not renew."
    if end <= now:
        ago = remaining(end, now)
        return [failure(f"the certificate of proxy {proxy['id']} has expired {ago}", remedy)]
    if end - now < ENDS_SOON:
        left = remaining(end, now)
        return [warning(f"the certificate of proxy {proxy['id']} expires {left}", remedy)]
    return []
