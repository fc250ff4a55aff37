"""Peers from the administrator's side: invited, accepted, listed, forgotten.

Of two zones one invites and the other accepts; from then on they are equals.  The one that accepts
dials the other through its gateway, pinned to the roots in the token, shows the token and
introduces itself.  A name, and a trust domain, belongs to one zone: what is known already is never
taken over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mesh.aio.clock import Clock
from mesh.ca import peering
from mesh.ca.issuer import Issuer
from mesh.ca.peering import PeeringTokenError, Word
from mesh.clients.consul import ConsulClient
from mesh.controlplane import audit
from mesh.controlplane.audit import AdminAction
from mesh.controlplane.peering import dialling
from mesh.model.identity import ZoneId
from mesh.model.names import InvalidNameError, zone_name
from mesh.model.violations import Report
from mesh.model.zones import Gateway, Zone
from mesh.sources.zones import document, peers
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.peers import Invitation, Peer
from mesh.sources.zones.record import ZoneRecord
from mesh.world.snapshot import World

MAX_TTL: Final = timedelta(days=7)
ESTABLISH: Final = "/v1/peering/establish"
"""Where a token is shown."""
_INTRODUCTION: Final = timedelta(minutes=5)
_WAIT: Final = 10.0

logger = logging.getLogger(__name__)


class PeeringRefusedError(Exception):
    """A zone cannot become a peer, or is none; the message says why and ``remedy`` what to do."""

    def __init__(self, reason: str, remedy: str = "see `mesh zone peer list`") -> None:
        """Write the reason and the remedy in one sentence."""
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Invited:
    """A new peering token.  ``token`` is the secret; ``id`` names it in records."""

    token: str
    id: str
    expires_at: datetime


class PeeringOffice:
    """Makes and ends the peers of one zone."""

    def __init__(
        self,
        zone: ZoneId,
        issuer: Issuer,
        consul: ConsulClient,
        world: Callable[[], World],
        clock: Clock,
    ) -> None:
        """Keep peers in ``consul``; ``world`` tells which zones there are already."""
        self._zone = zone
        self._issuer = issuer
        self._consul = consul
        self.world = world
        self._clock = clock

    async def invite(self, name: str, ttl: timedelta, source: str) -> Invited:
        """Make a token for the zone ``name``; an earlier one for it is worth nothing any more.

        It lives ``ttl``, or as long as the zone's own certificate if that is less.

        Raises:
            InvalidInputError: with every reason why it cannot be made.
            PeeringRefusedError: the name is taken, or there is no gateway.
            ConsulError, IssuerUnavailableError: something that is needed did not answer.

        """
        report = Report("the peer")
        try:
            zone_name(name)
        except InvalidNameError as error:
            report.add("name", str(error))
        if not timedelta() < ttl <= MAX_TTL:
            report.add("ttl_seconds", f"must be more than 0, and at most {MAX_TTL}")
        report.close()
        held, index = await self._held(name)
        self._refuse_known(name, "", held)
        now = self._clock.now()
        signer = await self._issuer.zone_identity()
        # The word of a certificate that has ended is worth nothing.
        end = min(now + ttl, signer.not_after).replace(microsecond=0)
        word = await self._word(peering.invited(name), secrets.token_hex(16), now, end)
        signed = peering.sign(peering.TOKEN, word, signer)
        record = Invitation(word.id, word.expires_at)
        if not await self._consul.kv_put(peers.PREFIX + name, record.encode(), cas=index):
            raise PeeringRefusedError(f"somebody else has just invited {name}, too", "try again")
        audit.administered(AdminAction("peer invited", f"{name} by {word.id}", source))
        return Invited(signed, word.id, word.expires_at)

    async def accept(self, token: str, source: str) -> Zone:
        """Become the peer of the zone that made ``token``, and return it.

        Raises:
            PeeringTokenError: the token is not good.
            PeeringRefusedError: the zone's name or trust domain is taken, or ours is there.
            PeerError: the zone could not be asked, or refused.
            ConsulError, IssuerUnavailableError: something that is needed did not answer.

        """
        now = self._clock.now()
        audience = peering.invited(self._zone.zone)
        word = peering.read(peering.TOKEN, token, audience=audience, now=now)
        other = word.zone
        held, index = await self._held(other.zone)
        if isinstance(held, Invitation):
            raise PeeringRefusedError(
                f"{other.zone} is invited by this zone, too, and one of the two invites",
                f"`mesh zone peer forget {other.zone}` first",
            )
        self._refuse_known(other.zone, other.trust_domain, held)
        ours = await self._word(other.uri, word.id, now, now + _INTRODUCTION)
        introduction = peering.sign(peering.INTRODUCTION, ours, await self._issuer.zone_identity())
        body = {"token": token, "introduction": introduction}
        await dialling.ask(word.gateways, other, word.bundle, "POST", ESTABLISH, body=body)
        if not await self._consul.kv_put(
            peers.PREFIX + other.zone, _peer(word, now).encode(), cas=index
        ):
            raise PeeringRefusedError(
                f"{other.zone} has just become known here otherwise",
                f"`mesh zone peer forget {other.zone}` here, and {self._zone.zone} there",
            )
        audit.administered(AdminAction("peer accepted", f"{other.uri} by {word.id}", source))
        return _zone(word)

    async def establish(self, token: str, introduction: str, source: str) -> None:
        """Take the zone that shows ``token`` and introduces itself as a peer.

        Raises:
            PeeringTokenError: the token, or the introduction, is not good, or was used.
            PeeringRefusedError: the zone's name or trust domain is taken.
            ConsulError: Consul did not answer.

        """
        now = self._clock.now()
        theirs = peering.read(peering.INTRODUCTION, introduction, audience=self._zone.uri, now=now)
        name = theirs.zone.zone
        word = peering.read(peering.TOKEN, token, audience=peering.invited(name), now=now)
        own = self._issuer.bundle()
        if word.zone != self._zone or not set(word.bundle.roots) <= set(own.roots):
            raise PeeringTokenError("was not made by this zone")
        held, index = await self._held(name)
        if not isinstance(held, Invitation) or held.token_id != word.id or theirs.id != word.id:
            raise PeeringTokenError("was used already, or withdrawn, or another followed it")
        if now >= held.expires_at:
            raise PeeringTokenError("has expired")
        self._refuse_known(name, theirs.zone.trust_domain, None)
        # The invitation's key becomes the peer's: of two who show one token one is the first.
        if not await self._consul.kv_put(
            peers.PREFIX + name, _peer(theirs, now).encode(), cas=index
        ):
            raise PeeringTokenError("was used already")
        audit.administered(AdminAction("peer joined", f"{theirs.zone.uri} by {word.id}", source))

    async def known(self) -> Mapping[str, Invitation | Peer]:
        """Return every peer, and whom an invitation waits for.

        Raises:
            InvalidInputError: a record cannot be read.
            ConsulError: Consul did not answer.

        """
        pairs = (await self._consul.kv_list(peers.PREFIX)).value
        return {
            pair.key.removeprefix(peers.PREFIX): peers.parse(pair.data, f"key {pair.key}")
            for pair in pairs
        }

    async def forget(self, name: str, source: str) -> None:
        """End the peering with ``name``, or withdraw its invitation; on this side only.

        Raises:
            PeeringRefusedError: there is no such peer.
            ConsulError: Consul did not answer.

        """
        key = peers.PREFIX + name
        if (await self._consul.kv_get(key)).value is None:
            raise PeeringRefusedError(f"there is no peer {name}")
        await self._consul.kv_delete(key)
        await self._consul.kv_delete(peers.EXPORTS + name)
        audit.administered(AdminAction("peer forgotten", name, source))

    async def told(self, name: str, index: int) -> tuple[Any, int]:
        """Return what the peer ``name`` is told, once it differs from what was at ``index``.

        Raises:
            PeeringRefusedError: nothing has been made ready yet.
            ConsulError: Consul did not answer.

        """
        answer = await self._consul.kv_get(
            peers.EXPORTS + name, index=index, wait=_WAIT if index else 0
        )
        if answer.value is None:
            raise PeeringRefusedError(f"nothing is ready to be told to {name} yet", "ask again")
        return answer.value.data, answer.index

    async def _word(self, audience: str, word_id: str, now: datetime, end: datetime) -> Word:
        gateways = await self._gateways()
        if not gateways:
            raise PeeringRefusedError(
                f"zone {self._zone.zone} has no gateway that is healthy, by which a peer could "
                "reach it",
                "start one with `mesh gateway --ingress`",
            )
        bundle = self._issuer.bundle()
        return Word(self._zone, bundle, gateways, audience, word_id, now, end)

    async def _gateways(self) -> tuple[Gateway, ...]:
        # The leader's word: this instance need not follow them.
        held = (await self._consul.kv_get(document.PREFIX + self._zone.zone)).value
        if held is None:
            return ()
        return document.parse(held.data, f"key {held.key}").zone.gateways

    async def _held(self, name: str) -> tuple[Invitation | Peer | None, int]:
        held = (await self._consul.kv_get(peers.PREFIX + name)).value
        if held is None:
            return None, 0
        return peers.parse(held.data, f"key {held.key}"), held.modify_index

    def _refuse_known(self, name: str, domain: str, held: Invitation | Peer | None) -> None:
        world = self.world()
        if name == self._zone.zone:
            raise PeeringRefusedError(
                f"this zone is called {name} itself",
                "two zones that peer need names of their own",
            )
        if isinstance(held, Peer):
            raise PeeringRefusedError(
                f"{name} is a peer already ({held.zone.trust_domain})",
                f"`mesh zone peer forget {name}` first",
            )
        if name in world.zones:
            raise PeeringRefusedError(
                f"there is a zone {name} in our own federation",
                "two zones that peer need names of their own",
            )
        if not domain:
            return
        if domain == self._zone.trust_domain:
            raise PeeringRefusedError(
                f"{name} has our own trust domain {domain}",
                "peers need one each; zones of one organisation share their Consul's federation",
            )
        for zone in world.zones.values():
            if zone.trust_domain == domain:
                raise PeeringRefusedError(f"zone {zone.name} has the trust domain {domain} already")


def _zone(word: Word) -> Zone:
    return Zone(
        word.zone.zone, word.zone.trust_domain, word.bundle.pem, tuple(sorted(word.gateways))
    )


def _peer(word: Word, now: datetime) -> Peer:
    return Peer(ZoneRecord(ZoneDocument(_zone(word), word.bundle.fingerprint), now, now), now)
