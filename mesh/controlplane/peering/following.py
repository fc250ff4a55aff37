"""The peers' documents: asked for through their gateways, and kept in our own KV store.

One task per peer waits for its document to change.  What it hears is believed as a zone of our own
federation is (``federation/belief.py``), and of its own trust domain only.  The roots in it are
the peer's word for its own trust domain: so its rotation reaches us.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

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
_PAUSE: Final = 0.2
"""Seconds between an answer and the next question, however much a peer has to say."""
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
        self._followed: dict[_Peering, asyncio.Task[None]] = {}

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        # Those of an earlier term have ended with it.
        self._followed.clear()
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
                self._follow(found, tasks)

    def _follow(self, found: Mapping[str, _Found], tasks: Tasks) -> None:
        peerings = {(name, one.since) for name, (one, _) in found.items() if isinstance(one, Peer)}
        # What cannot be read stands, and so does whoever followed it.
        unreadable = {name for name, (one, _) in found.items() if one is None}
        for ended in self._followed.keys() - peerings:
            if ended[0] not in unreadable:
                self._followed.pop(ended).cancel()
        for peering in sorted(peerings - self._followed.keys()):
            name, _ = peering
            other = PeerZone(self._consul, self._zone, name, self._issuer, self._clock)
            self._followed[peering] = tasks.spawn(f"follow peer {name}", other.run())

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
_Peering = tuple[str, datetime]
"""A peer's name, and since when it is one: forgotten and peered again, it is another."""


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
                # Ended, or not readable: nobody is asked unless the same peering comes back.
                await self._clock.sleep(backoff.next())
                await self._recall()
                index = 0
                continue
            try:
                found = await self._ask(known.zone, index)
                index, data = _index(found["index"]), json.dumps(found["document"]).encode()
            except (PeerError, IssuerError, InvalidBundleError, KeyError) as error:
                index = 0
                await self._unheard(f"its control plane cannot be asked: {error}")
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            await self._read(data)
            await self._clock.sleep(_PAUSE)

    async def _ask(self, zone: Zone, index: int) -> Mapping[str, Any]:
        return await dialling.ask(
            zone.gateways,
            ZoneId(zone.trust_domain, zone.name),
            TrustBundle.parse(zone.bundle, zone.trust_domain),
            "GET",
            DOCUMENT,
            by=self._zone,
            credentials=await self._issuer.zone_identity(),
            query={"index": str(index)},
        )

    async def _read(self, data: bytes) -> None:
        try:
            said = document.parse(data, f"the document of peer {self._name}").zone
            TrustBundle.parse(said.bundle, said.trust_domain)
        except (InvalidInputError, InvalidBundleError) as error:
            await self._unheard(f"its document cannot be read: {error}")
            return
        await super()._read(data)

    def _may_write(self) -> bool:
        # Without an index somebody has forgotten the peer: it does not come back by itself.
        return bool(self._index)

    def _is_ours(self, held: KeyValue) -> bool:
        try:
            found = peers.parse(held.data, f"key {self._key}")
        except InvalidInputError:
            return False
        return isinstance(found, Peer) and found.since == self._since

    def _decoded(self, data: bytes) -> ZoneRecord | None:
        held = peers.parse(data, f"key {self._key}")
        if isinstance(held, Invitation) or self._since not in {None, held.since}:
            return None
        self._since = held.since
        return held.record

    def _encoded(self, known: ZoneRecord) -> bytes:
        return Peer(known, self._since or known.heard_at).encode()


def _index(said: object) -> int:
    """Return up to where a peer has told its news, which the next question repeats."""
    if not isinstance(said, int) or isinstance(said, bool):
        raise PeerError("what it says has no number that the next question could name")
    return said
