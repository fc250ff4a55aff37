"""Two zones' control planes over real TLS: who becomes a peer, and what a peer can ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.ca import peering, tls
from mesh.ca.builtin import builtin_issuer
from mesh.ca.issuer import Credentials
from mesh.ca.local import LocalIssuer
from mesh.ca.peering import PeeringTokenError, Word
from mesh.clients.consul import ConsulClient
from mesh.controlplane.peering.dialling import PeerError, ask
from mesh.controlplane.peering.following import DOCUMENT, PeerZone
from mesh.controlplane.peering.office import ESTABLISH, PeeringOffice, PeeringRefusedError
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.services import Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones import peers
from mesh.sources.zones.document import PREFIX, ZoneDocument
from mesh.sources.zones.peers import EXPORTS, Invitation, Peer
from tests.controlplane.zones import ADMIN_TOKEN, ApiServer, api_server
from tests.traffic.waiting import until
from tests.xds.pki import Authority

HOUR = timedelta(hours=1)


@dataclass
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

    async def know(self, *zones: Zone) -> None:
        """Let the zone know of others."""
        self.api.view.world = replace(
            self.api.view.world, zones={each.name: each for each in zones}
        )

    async def know_peer(self, name: str) -> Zone:
        """Let the zone's world have what its records say of a peer."""
        found = (await self.office.known())[name]
        assert isinstance(found, Peer)
        await self.know(found.zone)
        return found.zone


@pytest.fixture
async def sides(consul: ConsulClient, tmp_path: Path) -> AsyncIterator[dict[str, Side]]:
    """``west``, ``partner``, and ``copy`` that has the trust domain of ``west``."""
    found = {}
    issuers = []
    servers = []
    for name, domain in (("west", "west"), ("partner", "partner"), ("copy", "west")):
        zone = ZoneId(f"{domain}.example", name)
        issuer = builtin_issuer(tmp_path / name, zone)
        await issuer.start()
        issuers.append(issuer)
        server = api_server(zone, issuer, consul)
        api = await server.__aenter__()
        servers.append(server)
        api.view.world = replace(api.view.world, zone=name, trust_domain=zone.trust_domain)
        side = found[name] = Side(zone, issuer, api, consul)
        bundle = issuer.bundle()
        told = Zone(name, zone.trust_domain, bundle.pem, (side.gateway,))
        document = ZoneDocument(told, bundle.fingerprint).encode()
        await consul.kv_put(PREFIX + name, document)
    yield found
    for server in servers:
        await server.__aexit__(None, None, None)
    for issuer in issuers:
        await issuer.close()


async def _peered(sides: dict[str, Side]) -> tuple[Side, Side]:
    west, partner = sides["west"], sides["partner"]
    token = (await west.office.invite("partner", HOUR, "here")).token
    await partner.office.accept(token, "here")
    await west.know_peer("partner")
    await partner.know_peer("west")
    return west, partner


async def _asked(
    west: Side, by: str, credentials: Credentials | None, method: str, path: str, **more: Any
) -> int:
    """Ask ``west`` by its name of the peering; return the status of the answer."""
    context = tls.client_context(west.issuer.bundle(), credentials)
    context.check_hostname = False
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.request(
            method,
            f"https://127.0.0.1:{west.api.port}{path}",
            server_hostname=west.zone.peering_name(by),
            **more,
        ) as answer,
    ):
        return answer.status


def _forged(authority: Authority, identity: str) -> Credentials:
    """Let ``authority`` sign for anybody whatever."""
    files = authority.issue("forged", [identity])
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = files.certificate.read_text()
    leaf = x509.load_pem_x509_certificate(chain.encode())
    return Credentials(chain, key, "1", leaf.not_valid_before_utc, leaf.not_valid_after_utc)


async def test_one_invites_and_the_other_accepts(sides: dict[str, Side]) -> None:
    west, partner = await _peered(sides)
    known = (await west.office.known())["partner"]
    assert isinstance(known, Peer)
    assert known.zone.trust_domain == "partner.example"
    assert known.zone.bundle == partner.issuer.bundle().pem
    assert known.zone.gateways == (partner.gateway,)
    assert known.zone.services == {}
    document = ZoneDocument(known.zone, "sha256:x").encode()
    await west.consul.kv_put(EXPORTS + "partner", document)
    answer = await ask(
        [west.gateway],
        west.zone,
        west.issuer.bundle(),
        "GET",
        DOCUMENT,
        by="partner",
        credentials=await partner.issuer.zone_identity(),
    )
    assert answer["document"]["zone"] == "partner"


async def test_a_token_is_used_once(sides: dict[str, Side]) -> None:
    west, partner = sides["west"], sides["partner"]
    token = (await west.office.invite("partner", HOUR, "here")).token
    first = await _introduction(partner, west, token)
    await west.office.establish(token, first, "there")
    with pytest.raises(PeeringTokenError, match="used already"):
        await west.office.establish(token, first, "there")


async def test_a_later_token_or_a_withdrawal_ends_an_earlier(sides: dict[str, Side]) -> None:
    west, partner = sides["west"], sides["partner"]
    early = (await west.office.invite("partner", HOUR, "here")).token
    late = (await west.office.invite("partner", HOUR, "here")).token
    with pytest.raises(PeeringTokenError, match="another followed"):
        await west.office.establish(early, await _introduction(partner, west, early), "there")
    await west.office.forget("partner", "here")
    with pytest.raises(PeerError, match="withdrawn"):
        await partner.office.accept(late, "here")
    assert await partner.office.known() == {}


async def _introduction(
    by: Side, to: Side, token: str, *, zone: ZoneId | None = None, word_id: str = ""
) -> str:
    now = SystemClock().now()
    audience = peering.invited(by.zone.zone)
    read = peering.read(peering.TOKEN, token, audience=audience, now=now)
    word = Word(
        zone or by.zone,
        by.issuer.bundle(),
        (by.gateway,),
        to.zone.uri,
        word_id or read.id,
        now,
        now + HOUR,
    )
    return peering.sign(peering.INTRODUCTION, word, await by.issuer.zone_identity())


async def test_an_introduction_is_held_to_the_token(sides: dict[str, Side]) -> None:
    west, partner = sides["west"], sides["partner"]
    token = (await west.office.invite("partner", HOUR, "here")).token
    other = ZoneId("partner.example", "other")
    for wrong in (
        await _introduction(partner, west, token, zone=other),
        await _introduction(partner, west, token, word_id="f" * 32),
        await _introduction(partner, partner, token),
        token,
    ):
        with pytest.raises(PeeringTokenError):
            await west.office.establish(token, wrong, "there")
    # Of another zone, though it is for one of that name.
    theirs = (await sides["copy"].office.invite("partner", HOUR, "here")).token
    good = await _introduction(partner, west, theirs)
    with pytest.raises(PeeringTokenError, match="not made by this zone"):
        await west.office.establish(theirs, good, "there")


async def test_names_and_trust_domains_are_taken_once(sides: dict[str, Side]) -> None:
    west, partner, copy = sides["west"], sides["partner"], sides["copy"]
    with pytest.raises(PeeringRefusedError, match="names of their own"):
        await west.office.invite("west", HOUR, "here")
    same = (await west.office.invite("copy", HOUR, "here")).token
    with pytest.raises(PeeringRefusedError, match="our own trust domain"):
        await copy.office.accept(same, "here")
    with pytest.raises(PeeringRefusedError, match="our own trust domain"):
        await west.office.establish(same, await _introduction(copy, west, same), "there")
    bundle = partner.issuer.bundle().pem
    await west.know(Zone("partner", "west.example", bundle))
    with pytest.raises(PeeringRefusedError, match="in our own federation"):
        await west.office.invite("partner", HOUR, "here")
    await west.know(Zone("elsewhere", "partner.example", bundle, peer=True))
    token = (await west.office.invite("partner", HOUR, "here")).token
    with pytest.raises(PeerError, match="has the trust domain"):
        await partner.office.accept(token, "here")
    with pytest.raises(PeeringTokenError, match="is for zone partner"):
        await copy.office.accept(token, "here")


async def test_a_zone_without_a_gateway_invites_nobody(sides: dict[str, Side]) -> None:
    west = sides["west"]
    await west.consul.kv_delete(PREFIX + "west")
    with pytest.raises(PeeringRefusedError, match="no gateway"):
        await west.office.invite("partner", HOUR, "here")


async def test_whom_the_token_does_not_name_is_not_spoken_to(sides: dict[str, Side]) -> None:
    west, partner, copy = sides["west"], sides["partner"], sides["copy"]
    for zone, bundle in (
        (west.zone, partner.issuer.bundle()),
        (ZoneId("west.example", "other"), west.issuer.bundle()),
    ):
        with pytest.raises(PeerError, match="no answer"):
            await ask([west.gateway], zone, bundle, "POST", ESTABLISH, body={})
    with pytest.raises(PeerError, match=r"copy.*answers, where"):
        await ask(
            [copy.gateway],
            ZoneId("west.example", "west"),
            copy.issuer.bundle(),
            "POST",
            ESTABLISH,
            body={},
        )


async def test_a_peers_word_counts_for_nothing_else(sides: dict[str, Side], tmp_path: Path) -> None:
    west, partner = await _peered(sides)
    # The peer's authority signs whatever it likes.
    authority = Authority(tmp_path)
    peer = west.api.view.world.zones["partner"]
    await west.know(replace(peer, bundle=authority.bundle.read_text()))
    identity = _forged(authority, partner.zone.uri)
    for who in (
        WorkloadId("west.example", "west", "web").uri,
        WorkloadId("partner.example", "partner", "web").uri,
        west.zone.uri,
        ZoneId("partner.example", "other").uri,
    ):
        false = _forged(authority, who)
        assert await _asked(west, "partner", false, "GET", DOCUMENT) == 401
        assert await _asked(west, "partner", false, "POST", "/v1/renew", json={}) == 404
        with pytest.raises(aiohttp.ClientError):
            await west.api.call("POST", "/v1/renew", json={}, credentials=false)
    # By the name of the peering there is nothing else, not for an administrator either.
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for by, shown in (("partner", identity), ("", None)):
        for method, path in (("GET", "/v1/status"), ("GET", "/v1/bundle"), ("GET", "/v1/peers")):
            assert await _asked(west, by, shown, method, path, headers=admin) == 404
    assert await _asked(west, "partner", None, "POST", ESTABLISH, json={}) == 404
    assert await _asked(west, "", None, "GET", DOCUMENT) == 404
    # By the zone's own name there is no peering.
    assert (await west.api.call("GET", DOCUMENT)).status == 404
    assert (await west.api.call("POST", ESTABLISH, json={})).status == 404


async def test_only_the_peer_itself_is_told(sides: dict[str, Side]) -> None:
    west, partner = await _peered(sides)
    ours = await west.issuer.zone_identity()
    for by, shown in (("partner", ours), ("stranger", await partner.issuer.zone_identity())):
        with pytest.raises(aiohttp.ClientError):
            await _asked(west, by, shown, "GET", DOCUMENT)
    assert await _asked(west, "partner", None, "GET", DOCUMENT) == 401
    await west.know()
    with pytest.raises(aiohttp.ClientError):
        await _asked(west, "partner", await partner.issuer.zone_identity(), "GET", DOCUMENT)


async def test_what_a_peer_says_is_kept_and_of_its_own_only(
    sides: dict[str, Side], tmp_path: Path
) -> None:
    west, partner = await _peered(sides)
    consul, key = west.consul, EXPORTS + "partner"

    async def say(**changed: Any) -> None:
        services = {"api": Exported(Protocol.HTTP, 2)}
        bundle = west.issuer.bundle().pem
        zone = Zone("west", "west.example", bundle, (west.gateway,), services)
        at = SystemClock().now()
        said = ZoneDocument(replace(zone, **changed), "sha256:x", published_at=at)
        await consul.kv_put(key, said.encode())

    async def known() -> Peer:
        found = (await partner.office.known())["west"]
        assert isinstance(found, Peer)
        return found

    async def error(part: str) -> bool | None:
        return True if part in (await known()).record.error else None

    async def services() -> bool | None:
        found = await known()
        return True if found.zone.services.keys() == {"api"} and not found.record.error else None

    await say()
    clock = SystemClock()
    follower = PeerZone(consul, partner.zone, "west", partner.issuer, clock)
    async with Tasks("test") as tasks:
        tasks.spawn("follow", follower.run(), forever=True)
        await until("west is heard", services)
        # Both roots before either signs; then the old one may go.
        following_root = Authority(tmp_path, "next root")
        both = west.issuer.bundle().pem + following_root.bundle.read_text()
        await say(bundle=both)

        async def rotated() -> bool | None:
            return True if (await known()).zone.bundle == both else None

        await until("the roots have rotated", rotated)
        # Another trust domain, another zone, roots that are none: what was known stands.
        for wrong, why in (
            ({"trust_domain": "evil.example"}, "another zone has taken the name"),
            ({"name": "other"}, "is that of a zone other"),
            ({"bundle": "nothing"}, "cannot be read"),
        ):
            await say(**wrong)
            await until(why, partial(error, why))
            assert (await known()).zone.bundle == both
            assert (await known()).zone.services.keys() == {"api"}
        await say(bundle=both)
        await until("west is believed again", services)
        # Ended there: what is known stands here, with the reason.
        await west.know()
        await consul.kv_delete(key)
        await until("west is silent", partial(error, "cannot be asked"))
        assert (await known()).zone.services.keys() == {"api"}
        # Ended here: it does not come back by itself.
        await partner.office.forget("west", "here")
        await west.know_peer("partner")
        await say()
    assert (await consul.kv_get(peers.PREFIX + "west")).value is None


async def test_the_token_is_nowhere(
    sides: dict[str, Side], caplog: pytest.LogCaptureFixture
) -> None:
    west = sides["west"]
    caplog.set_level("DEBUG")
    made = await west.office.invite("partner", HOUR, "here")
    held = await west.consul.kv_get(peers.PREFIX + "partner")
    assert held.value is not None
    assert made.token.encode() not in held.value.data
    assert made.token not in caplog.text
    assert peers.parse(held.value.data, "it") == Invitation(made.id, made.expires_at)
