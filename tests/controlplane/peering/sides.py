"""Two zones of different organisations, each with a Consul and an API over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mesh.aio.clock import Clock, ManualClock, SystemClock
from mesh.ca import peering
from mesh.ca.builtin import builtin_issuer
from mesh.ca.local import LocalIssuer
from mesh.ca.peering import Word
from mesh.clients.consul import ConsulClient
from mesh.controlplane.peering.following import Peers
from mesh.controlplane.peering.office import PeeringOffice
from mesh.model.identity import ZoneId
from mesh.model.services import Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones.document import PREFIX, ZoneDocument
from mesh.sources.zones.peers import EXPORTS, Peer
from tests.controlplane.zones import ApiServer, api_server

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Side:
    """One zone's control plane, which is its own gateway."""

    zone: ZoneId
    issuer: LocalIssuer
    api: ApiServer
    consul: ConsulClient

    @property
    def office(self) -> PeeringOffice:
        """Where peers are made."""
        return self.api.parts.office

    @property
    def gateway(self) -> Gateway:
        """Where it is dialled."""
        return Gateway("127.0.0.1", self.api.port)

    def office_of(
        self, consul: ConsulClient | None = None, *, now: datetime | None = None
    ) -> PeeringOffice:
        """Return an office of another instance of the zone, whose clock stands at ``now``."""
        clock = ManualClock(now) if now is not None else SystemClock()
        world = self.office.world
        return PeeringOffice(self.zone, self.issuer, consul or self.consul, world, clock)

    def peers(self, clock: Clock, consul: ConsulClient | None = None) -> Peers:
        """Return what a leader of the zone follows its peers by."""
        return Peers(consul or self.consul, self.zone, self.issuer, clock)

    async def know(self, *zones: Zone) -> None:
        """Let the zone know of others."""
        self.api.view.world = replace(
            self.api.view.world, zones={each.name: each for each in zones}
        )

    async def peer(self, name: str) -> Peer:
        """Return what the zone's records say of a peer."""
        found = (await self.office.known())[name]
        assert isinstance(found, Peer)
        return found

    async def know_peer(self, name: str) -> None:
        """Let the zone's world have what its records say of a peer."""
        await self.know((await self.peer(name)).zone)

    async def introduction(
        self, to: Side, token: str, *, zone: ZoneId | None = None, word_id: str = ""
    ) -> str:
        """Return how the zone introduces itself with ``token``; or how it would as another."""
        now = SystemClock().now()
        audience = peering.invited(self.zone.zone)
        read = peering.read(peering.TOKEN, token, audience=audience, now=now)
        word = Word(
            zone or self.zone,
            self.issuer.bundle(),
            (self.gateway,),
            to.zone.uri,
            word_id or read.id,
            now,
            now + HOUR,
        )
        return peering.sign(peering.INTRODUCTION, word, await self.issuer.zone_identity())

    async def say(self, to: str, *services: str, **changed: Any) -> None:
        """Tell the peer ``to`` that it may call ``services``; ``changed`` is of the zone told."""
        told = {each: Exported(Protocol.HTTP, 2) for each in services}
        bundle = self.issuer.bundle().pem
        zone = Zone(self.zone.zone, self.zone.trust_domain, bundle, (self.gateway,), told)
        at = SystemClock().now()
        said = ZoneDocument(replace(zone, **changed), "sha256:x", published_at=at)
        await self.consul.kv_put(EXPORTS + to, said.encode())


@dataclass(frozen=True, slots=True)
class Sides:
    """``west`` and ``partner``, strangers to each other at first."""

    west: Side
    partner: Side

    async def peered(self) -> tuple[Side, Side]:
        """Make them peers: ``west`` invites, ``partner`` accepts."""
        token = (await self.west.office.invite("partner", HOUR, "here")).token
        await self.partner.office.accept(token, "here")
        await self.west.know_peer("partner")
        await self.partner.know_peer("west")
        return self.west, self.partner

    async def parted(self) -> None:
        """End the peering on both sides."""
        for side, other in ((self.west, "partner"), (self.partner, "west")):
            await side.office.forget(other, "here")
            await side.know()


@asynccontextmanager
async def started(zone: ZoneId, consul: ConsulClient, directory: Path) -> AsyncIterator[Side]:
    """Run the control plane of ``zone``."""
    issuer = builtin_issuer(directory, zone)
    await issuer.start()
    try:
        async with api_server(zone, issuer, consul) as api:
            api.view.world = replace(api.view.world, zone=zone.zone, trust_domain=zone.trust_domain)
            side = Side(zone, issuer, api, consul)
            bundle = issuer.bundle()
            told = Zone(zone.zone, zone.trust_domain, bundle.pem, (side.gateway,))
            document = ZoneDocument(told, bundle.fingerprint).encode()
            await consul.kv_put(PREFIX + zone.zone, document)
            yield side
    finally:
        await issuer.close()
