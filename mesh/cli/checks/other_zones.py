"""Every zone is heard, our own too, can be called, and agrees on the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mesh.aio.clock import Clock
from mesh.cli.checks.model import Finding, ok, warning
from mesh.cli.zones import SKEWED, State, ZoneState, ask_zones
from mesh.clients.consul import ConsulClient

_START: Final = (
    "Start `mesh zone`, or see the log of the instance that leads: it publishes the document, by "
    "which other zones know this one."
)


class OtherZones:
    """Asks Consul what its zone knows of the others."""

    title = "other zones"
    vital = False

    def __init__(self, consul: ConsulClient, clock: Clock) -> None:
        """Ask ``consul``."""
        self._consul = consul
        self._clock = clock

    async def run(self) -> Sequence[Finding]:
        """Look at each zone."""
        own, *others = await ask_zones(self._consul, self._clock.now())
        return judge(own, others)


def judge(own: ZoneState, others: Sequence[ZoneState]) -> list[Finding]:
    """Name each zone that is silent, cannot be called, or whose clock differs, and our own."""
    invited = [zone for zone in others if zone.state is State.INVITED]
    met = [zone for zone in others if zone.state is not State.INVITED]
    found = [finding for zone in met for finding in _of(zone)]
    found += _of_own(own, is_alone=not met)
    coming = [ok(f"{zone.zone} is invited and has not come yet") for zone in invited]
    return [*(found or [ok(_heard(len(met)))]), *coming]


def _heard(others: int) -> str:
    if not others:
        return "there is no other zone"
    return f"{others} other zones, all heard" if others > 1 else "1 other zone, heard"


def _of_own(zone: ZoneState, *, is_alone: bool) -> list[Finding]:
    if zone.why:
        return [warning(f"zone {zone.zone} is {zone.state}: {zone.why}", _START)]
    if not is_alone and zone.known is not None and not zone.known.zone.gateways:
        text = f"zone {zone.zone} has no gateway: nobody in another zone can call it"
        return [warning(text, "Run two of `mesh gateway --ingress` in it.")]
    return []


def _of(zone: ZoneState) -> list[Finding]:
    remedy = "See `mesh zones`. What is known of it stands meanwhile."
    if zone.why:
        return [warning(f"zone {zone.zone} is {zone.state}: {zone.why}", remedy)]
    found = []
    if zone.known is not None and not zone.known.zone.gateways:
        text = f"zone {zone.zone} has no gateway: it cannot be called"
        found.append(warning(text, "Run two of `mesh gateway --ingress` there."))
    if zone.skew is not None and abs(zone.skew) >= SKEWED.total_seconds():
        text = f"the clock of zone {zone.zone} differs by {abs(zone.skew):.0f} s"
        found.append(warning(text, "Set the clocks: is NTP running, here and there?"))
    return found
