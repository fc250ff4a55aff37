"""The peers' documents: asked for through their gateways, and kept in our own KV store.

One task per peer waits for its document to change.  What it hears is believed as a zone of our own
federation is (``federation/belief.py``), and of its own trust domain only.  The roots in it are
the peer's word for its own trust domain: so its rotation reaches us.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime
from typing import Final, NoReturn

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.ca.bundle import InvalidBundleError, TrustBundle
from mesh.ca.issuer import Issuer, IssuerError
from mesh.clients.consul import ConsulClient, ConsulError, KeyValue
from mesh.controlplane.federation.following import OtherZone
from mesh.controlplane.peering import dialling
from mesh.controlplane.peering.dialling import PeerError
from mesh.model.identity import ZoneId
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Zone
from mesh.sources.zones import document, peers
from mesh.sources.zones.peers import Invitation, Peer
from mesh.sources.zones.record import ZoneRecord

_WAIT: Final = 10.0
DOCUMENT: Final = "/v1/peering/document"
"""Where a peer asks for what it is told."""

logger = logging.getLogger(__name__)


class Peers:
    """Follows every peer, and clears away what has ended.  Only the leader runs it."""

    def __init__(self, consul: ConsulClient, zone: ZoneId, issuer: Issuer, clock: Clock) -> None:
        """``consul`` is the zone's own."""
        self._consul = consul
        self._zone = zone
        self._issuer = issuer
        self._clock = clock
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        async with Tasks("peers") as tasks:
            backoff, index = Backoff(0.5, 5.0), 0
            while True:
                try:
                    answer = await self._consul.kv_list(
                        peers.PREFIX, index=index, wait=_WAIT if index else 0
                    )
                    found = self._sorted(answer.value)
                    await self._clear(found)
                except ConsulError as error:
                    logger.warning("peers unknown", extra={"reason": str(error)})
                    index = 0
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                index = answer.index if answer.index >= index else 0
                known = {name for name, one in found.items() if isinstance(one[0], Peer)}
                for name in sorted(known - self._followed.keys()):
                    other = PeerZone(self._consul, self._zone, name, self._issuer, self._clock)
                    self._followed[name] = tasks.spawn(f"follow peer {name}", other.run())
                for name in self._followed.keys() - found.keys():
                    self._followed.pop(name).cancel()

    def _sorted(self, pairs: tuple[KeyValue, ...]) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        for pair in pairs:
            try:
                held = peers.parse(pair.data, f"key {pair.key}")
            except InvalidInputError:
                held = None  # told of by the source that reads it too; it stands
            found[pair.key.removeprefix(peers.PREFIX)] = (held, pair.modify_index)
        return found

    async def _clear(self, found: dict[str, _Found]) -> None:
        now = self._clock.now()
        for name, (held, index) in found.items():
            if isinstance(held, Invitation) and now >= held.expires_at:
                await self._consul.kv_delete(peers.PREFIX + name, cas=index)
        for key in (await self._consul.kv_keys(peers.EXPORTS)).value:
            if key.removeprefix(peers.EXPORTS) not in found:
                await self._consul.kv_delete(key)


_Found = tuple[Invitation | Peer | None, int]


class PeerZone(OtherZone):
    """One peer, and what is known of it."""

    def __init__(
        self, consul: ConsulClient, zone: ZoneId, name: str, issuer: Issuer, clock: Clock
    ) -> None:
        """Ask the peer ``name`` as ``zone``, whose identity ``issuer`` has."""
        super().__init__(consul, name, clock, own=zone.zone)
        self._key = peers.PREFIX + name
        self._issuer = issuer
        self._since: datetime | None = None

    async def _listen(self) -> NoReturn:
        backoff, index = Backoff(0.5, 5.0), 0
        while True:
            known = self._known
            if known is None:
                # Ended, or not readable: there is nobody to ask.
                await self._clock.sleep(backoff.next())
                continue
            try:
                found = await self._ask(known.zone, index)
                index = found["index"]
                data = json.dumps(found["document"]).encode()
            except (PeerError, IssuerError, InvalidBundleError, KeyError) as error:
                index = 0
                await self._unheard(f"its control plane cannot be asked: {error}")
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            await self._read(data)

    async def _ask(self, zone: Zone, index: int) -> dict[str, int]:
        answer = await dialling.ask(
            zone.gateways,
            ZoneId(zone.trust_domain, zone.name),
            TrustBundle.parse(zone.bundle, zone.trust_domain),
            "GET",
            DOCUMENT,
            by=self._zone,
            credentials=await self._issuer.zone_identity(),
            query={"index": str(index)},
        )
        return dict(answer)

    async def _read(self, data: bytes) -> None:
        try:
            said = document.parse(data, f"the document of peer {self._name}").zone
            TrustBundle.parse(said.bundle, said.trust_domain)
        except (InvalidInputError, InvalidBundleError) as error:
            await self._unheard(f"its document cannot be read: {error}")
            return
        await super()._read(data)

    async def _write(self) -> None:
        if self._index:
            # Without, somebody has forgotten the peer: it does not come back by itself.
            await super()._write()

    def _decoded(self, data: bytes) -> ZoneRecord | None:
        held = peers.parse(data, f"key {self._key}")
        if isinstance(held, Invitation):
            return None
        self._since = held.since
        return held.record

    def _encoded(self, known: ZoneRecord) -> bytes:
        return Peer(known, self._since or known.heard_at).encode()
