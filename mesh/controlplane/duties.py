"""What only the leader of a zone does: give out addresses, reap, conduct, publish and follow."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.controlplane.federation.following import Following
from mesh.controlplane.federation.mirroring import Mirror
from mesh.controlplane.federation.publishing import Publisher
from mesh.controlplane.hub import Hub
from mesh.controlplane.leader import Duty
from mesh.controlplane.peering.following import Peers
from mesh.controlplane.reaper import Reaper
from mesh.controlplane.rollouts.conductor import Conductor
from mesh.controlplane.rollouts.store import RolloutStore
from mesh.controlplane.vips import VirtualAddresses
from mesh.model.identity import ZoneId
from mesh.policies.kinds import external_service

_VIPS_EVERY: Final = 2.0
_VIPS_AGAIN: Final = 60.0
"""Seconds after which the allocations are looked at though the catalog is the same."""
_REAP_EVERY: Final = 5.0
_FORGET_EVERY: Final = 600.0
"""Every record of a join token is read, and nothing waits for it."""

logger = logging.getLogger(__name__)


def duties(
    *,
    zone: ZoneId,
    consul: ConsulClient,
    hub: Hub,
    reaper: Reaper,
    publisher: Publisher,
    following: Following,
    mirror: Mirror,
    peers: Peers,
    clock: Clock,
) -> dict[str, Duty]:
    """Return the leader's duties by name; each runs until cancelled."""
    vips = VirtualAddresses(consul, zone.trust_domain)
    settled: tuple[frozenset[str], float] = (frozenset(), 0.0)

    async def allocate() -> None:
        nonlocal settled
        world, now = hub.world, clock.monotonic()
        # A peer's services are named with their zone, and could be any number.
        ours = [zone.services for zone in world.zones.values() if not zone.peer]
        outside = {name for kind, name in world.policies if kind == external_service.KIND.name}
        catalog = world.catalog.union(outside, *ours)
        # Nothing is allocated, or released, before the catalog is known.
        if world.catalog and (catalog != settled[0] or now - settled[1] > _VIPS_AGAIN):
            await vips.reconcile(catalog, clock.now())
            settled = (catalog, now)

    async def reap() -> None:
        await reaper.reap(clock.now())

    async def forget() -> None:
        await reaper.forget_spent_tokens(clock.now())

    return {
        "virtual addresses": lambda: _again("virtual addresses", allocate, _VIPS_EVERY, clock),
        "reap registrations": lambda: _again("reap registrations", reap, _REAP_EVERY, clock),
        "forget spent tokens": lambda: _again("forget spent tokens", forget, _FORGET_EVERY, clock),
        "conduct rollouts": lambda: Conductor(RolloutStore(consul), hub, clock).run(),
        "publish the zone": publisher.run,
        "follow other zones": following.run,
        "mirror the primary's policies": mirror.run,
        "follow peers": peers.run,
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
