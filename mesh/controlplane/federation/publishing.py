"""The zone's own document: written when something in it changes, and now and then all the same.

For each peer there is one more, of what is exported to it and nothing else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.ca.issuer import Issuer
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.controlplane.hub import Hub
from mesh.model import hostport
from mesh.model.names import WAN_META, ZONE_GATEWAY
from mesh.model.services import Health, Instance
from mesh.model.zones import Exported, Gateway, Zone
from mesh.routing.exports import exported, exports
from mesh.sources.zones.document import PREFIX, ZoneDocument
from mesh.sources.zones.peers import EXPORTS
from mesh.world.snapshot import World

HEARTBEAT: Final = 10.0
"""Seconds after which the document is written again though nothing changed."""
_GATHER: Final = 0.05
"""Seconds in which news is gathered."""
_REST: Final = 5
"""How many times as long as the work took nothing is done: it is small, but for all services."""
_LARGEST: Final = 512 * 1024
"""Bytes that Consul takes as one value."""
_NEARLY: Final = 0.8

logger = logging.getLogger(__name__)


class Publisher:
    """Keeps the zone's document true.  Only the leader runs it."""

    def __init__(
        self,
        consul: ConsulClient,
        hub: Hub,
        issuer: Issuer,
        addresses: Callable[[], Mapping[str, list[str]]],
        clock: Clock,
    ) -> None:
        """``addresses`` tells where the zone's ``api`` and ``xds`` are."""
        self._consul = consul
        self._hub = hub
        self._issuer = issuer
        self._addresses = addresses
        self._clock = clock
        self._written: Mapping[str, ZoneDocument] = {}
        self._due = 0.0
        self._warned = False

    async def run(self) -> NoReturn:
        """Publish until cancelled."""
        # What was followed in an earlier term is unknown again, and must not be told to be gone.
        self._written = {}
        try:
            while True:
                self._hub.changed.clear()
                began = perf_counter()
                await self._publish()
                await self._clock.sleep(_GATHER + _REST * (perf_counter() - began))
                await self._news()
        finally:
            self._hub.follow(frozenset())

    async def _news(self) -> None:
        left = max(self._due - self._clock.monotonic(), _GATHER)
        try:
            async with asyncio.timeout(left):
                await self._hub.changed.wait()
        except TimeoutError:
            pass  # time for a sign of life

    async def _publish(self) -> None:
        world = self._hub.world
        has_gateways = ZONE_GATEWAY in world.catalog or bool(world.instances.get(ZONE_GATEWAY))
        followed = exported(world) | {ZONE_GATEWAY} if has_gateways else frozenset[str]()
        self._hub.follow(followed)
        if not self._written and not followed <= world.instances.keys():
            # Not all is known yet, and what is unknown must not be told to be gone.
            self._due = self._clock.monotonic() + HEARTBEAT
            return
        # Without a gateway nobody can be called, and nothing needs to be counted.
        own = self._document(world, exports(world) if has_gateways else {})
        documents = {PREFIX + world.zone: own}
        for peer in world.peers:
            told = exports(world, peer=peer) if has_gateways else {}
            documents[EXPORTS + peer] = _for_peer(own, told)
        now = self._clock.monotonic()
        again = now >= self._due
        news = {key: one for key, one in documents.items() if self._written.get(key) != one}
        try:
            for key, document in (documents if again else news).items():
                await self._write(key, document)
        except ConsulError as error:
            logger.warning("the zone's document is not published", extra={"reason": str(error)})
            self._due = now + 1.0
            return
        self._written = documents
        if again:
            self._due = now + HEARTBEAT

    async def _write(self, key: str, document: ZoneDocument) -> None:
        body = replace(document, published_at=self._clock.now()).encode()
        self._warn_of_size(len(body))
        await self._consul.kv_put(key, body)
        zone = document.zone
        facts = {"key": key, "gateways": len(zone.gateways), "services": len(zone.services)}
        logger.debug("the zone's document is published", extra=facts)

    def _document(self, world: World, services: Mapping[str, Exported]) -> ZoneDocument:
        bundle, places = self._issuer.bundle(), self._addresses()
        zone = Zone(
            world.zone,
            world.trust_domain,
            bundle.pem,
            gateways=tuple(sorted(gateways(world))),
            services=services,
        )
        return ZoneDocument(zone, bundle.fingerprint, tuple(places["api"]), tuple(places["xds"]))

    def _warn_of_size(self, size: int) -> None:
        if size > _NEARLY * _LARGEST and not self._warned:
            self._warned = True
            facts = {"bytes": size, "most": _LARGEST}
            logger.warning("the zone's document is nearly as large as Consul takes", extra=facts)


def _for_peer(own: ZoneDocument, services: Mapping[str, Exported]) -> ZoneDocument:
    """Return what a peer is told: where our control planes are is no affair of its."""
    return ZoneDocument(replace(own.zone, services=services), own.fingerprint)


def gateways(world: World) -> set[Gateway]:
    """Return where other zones can call this one: its gateways that are healthy.

    One that says that it is somewhere which is no place is left out: the whole document would be
    refused for it.
    """
    found = world.instances.get(ZONE_GATEWAY, ())
    places = (_place(one) for one in found if one.health is not Health.CRITICAL)
    return {place for place in places if place is not None}


def _place(instance: Instance) -> Gateway | None:
    said = instance.meta.get(WAN_META, "")
    if not said:
        return Gateway(instance.address, instance.port)
    try:
        host, port = hostport.split(said)
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return Gateway(host, port) if port else None
