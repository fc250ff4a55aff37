"""What only the leader of a zone does: addresses, reaping, rollouts, and the zone's document."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.ca.issuer import Issuer
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.controlplane.hub import Hub
from mesh.controlplane.leader import Duty
from mesh.controlplane.reaper import Reaper
from mesh.controlplane.rollouts.conductor import Conductor
from mesh.controlplane.rollouts.store import RolloutStore
from mesh.controlplane.vips import VirtualAddresses
from mesh.model.identity import ZoneId

DOCUMENTS: Final = "mesh/zone/"
"""KV prefix of the public documents that say how a zone is reached and whom it believes."""
_VIPS_EVERY: Final = 2.0
_VIPS_AGAIN: Final = 60.0
"""Seconds after which the allocations are looked at though the catalog is the same."""
_REAP_EVERY: Final = 5.0
_FORGET_EVERY: Final = 600.0
"""Every record of a join token is read, and nothing waits for it."""
_PUBLISH_EVERY: Final = 10.0

logger = logging.getLogger(__name__)


def duties(
    *,
    zone: ZoneId,
    consul: ConsulClient,
    hub: Hub,
    reaper: Reaper,
    issuer: Issuer,
    addresses: Callable[[], Mapping[str, list[str]]],
    clock: Clock,
) -> dict[str, Duty]:
    """Return the leader's duties by name; each runs until cancelled."""
    vips = VirtualAddresses(consul, zone.trust_domain)
    settled: tuple[frozenset[str], float] = (frozenset(), 0.0)

    async def allocate() -> None:
        nonlocal settled
        catalog, now = hub.world.catalog, clock.monotonic()
        # Nothing is allocated, or released, before the catalog is known.
        if catalog and (catalog != settled[0] or now - settled[1] > _VIPS_AGAIN):
            await vips.reconcile(catalog, clock.now())
            settled = (catalog, now)

    async def reap() -> None:
        await reaper.reap(clock.now())

    async def forget() -> None:
        await reaper.forget_spent_tokens(clock.now())

    async def publish() -> None:
        bundle = issuer.bundle()
        document = {
            "zone": zone.zone,
            "trust_domain": zone.trust_domain,
            "bundle": bundle.pem,
            "fingerprint": bundle.fingerprint,
            **addresses(),
        }
        body = json.dumps(document, sort_keys=True)
        held = (await consul.kv_get(DOCUMENTS + zone.zone)).value
        if held is None or held.value != body:
            await consul.kv_put(DOCUMENTS + zone.zone, body.encode())

    return {
        "virtual addresses": lambda: _again("virtual addresses", allocate, _VIPS_EVERY, clock),
        "reap registrations": lambda: _again("reap registrations", reap, _REAP_EVERY, clock),
        "forget spent tokens": lambda: _again("forget spent tokens", forget, _FORGET_EVERY, clock),
        "conduct rollouts": lambda: Conductor(RolloutStore(consul), hub, clock).run(),
        "publish the zone": lambda: _again("publish the zone", publish, _PUBLISH_EVERY, clock),
    }


async def _again(
    name: str, once: Callable[[], Awaitable[None]], every: float, clock: Clock
) -> NoReturn:
    """Do ``once`` ``every`` so many seconds; what Consul refuses now is for the next time."""
    while True:
        try:
            await once()
        except ConsulError as error:
            logger.warning("duty put off", extra={"duty": name, "reason": str(error)})
        await clock.sleep(every)
