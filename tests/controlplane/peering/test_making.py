"""Who becomes a peer: invitations, tokens, introductions, and what they are refused for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mesh.aio.clock import SystemClock
from mesh.ca import peering
from mesh.ca.builtin import builtin_issuer
from mesh.ca.peering import PeeringTokenError
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.consul.answers import Answer, KeyValue
from mesh.controlplane.peering.dialling import PeerError, ask
from mesh.controlplane.peering.following import DOCUMENT
from mesh.controlplane.peering.office import MAX_TTL, PeeringRefusedError
from mesh.model.identity import ZoneId
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Zone
from mesh.sources.zones import peers
from mesh.sources.zones.document import PREFIX
from mesh.sources.zones.peers import Invitation
from tests.controlplane.peering.sides import HOUR, Side, Sides
from tests.controlplane.zones import ADMIN_TOKEN

SECOND = timedelta(seconds=1)


class Meeting(ConsulClient):
    """Two who read a key go on once both have read it."""

    def __init__(self, address: ConsulAddress) -> None:
        """Wait for the first two."""
        super().__init__(address)
        self._both = asyncio.Barrier(2)

    async def kv_get(self, key: str, **said: Any) -> Answer[KeyValue | None]:
        """Read, and wait for the other."""
        found = await super().kv_get(key, **said)
        await self._both.wait()
        return found


async def test_one_invites_and_the_other_accepts(sides: Sides) -> None:
    west, partner = await sides.peered()
    known = await west.peer("partner")
    assert known.zone.trust_domain == "partner.example"
    assert known.zone.bundle == partner.issuer.bundle().pem
    assert known.zone.gateways == (partner.gateway,)
    assert known.zone.services == {}
    await west.say("partner", "api")
    answer = await ask(
        [west.gateway],
        west.zone,
        west.issuer.bundle(),
        "GET",
        DOCUMENT,
        by="partner",
        credentials=await partner.issuer.zone_identity(),
    )
    assert answer["document"]["zone"] == "west"


async def test_a_token_is_used_once(sides: Sides) -> None:
    west, partner = sides.west, sides.partner
    token = (await west.office.invite("partner", HOUR, "here")).token
    first = await partner.introduction(west, token)
    await west.office.establish(token, first, "there")
    with pytest.raises(PeeringTokenError, match="used already"):
        await west.office.establish(token, first, "there")


async def test_of_two_who_show_a_token_at_once_one_is_the_first(
    sides: Sides, tmp_path_factory: pytest.TempPathFactory
) -> None:
    west, partner = sides.west, sides.partner
    # It has the name, and the token, and is another.
    thief_zone = ZoneId("thief.example", "partner")
    thief = builtin_issuer(tmp_path_factory.mktemp("thief"), thief_zone)
    await thief.start()
    token = (await west.office.invite("partner", HOUR, "here")).token
    shown = [
        await partner.introduction(west, token),
        await replace(partner, zone=thief_zone, issuer=thief).introduction(west, token),
    ]
    await thief.close()
    # Both find the invitation before either takes its place.
    async with Meeting(west.consul.address) as consul:
        office = west.office_of(consul)
        outcomes = await asyncio.gather(
            *(office.establish(token, each, "there") for each in shown), return_exceptions=True
        )
    (refused,) = [each for each in outcomes if each is not None]
    assert isinstance(refused, PeeringTokenError)
    assert refused.reason == "was used already"
    domain = ("partner.example", "thief.example")[outcomes.index(None)]
    assert (await west.peer("partner")).zone.trust_domain == domain


async def test_a_later_token_or_a_withdrawal_ends_an_earlier(sides: Sides) -> None:
    west, partner = sides.west, sides.partner
    early = (await west.office.invite("partner", HOUR, "here")).token
    late = (await west.office.invite("partner", HOUR, "here")).token
    with pytest.raises(PeeringTokenError, match="another followed"):
        await west.office.establish(early, await partner.introduction(west, early), "there")
    await west.office.forget("partner", "here")
    with pytest.raises(PeerError, match="withdrawn"):
        await partner.office.accept(late, "here")
    assert await partner.office.known() == {}


async def test_a_token_expires_on_either_side(sides: Sides) -> None:
    west, partner = sides.west, sides.partner
    made = await west.office.invite("partner", timedelta(minutes=2), "here")
    introduction = await partner.introduction(west, made.token)
    late = west.office_of(now=made.expires_at)
    with pytest.raises(PeeringTokenError, match="expired at"):
        await late.establish(made.token, introduction, "there")
    late = partner.office_of(now=made.expires_at)
    with pytest.raises(PeeringTokenError, match="expired at"):
        await late.accept(made.token, "here")
    assert isinstance((await west.office.known())["partner"], Invitation)
    assert await partner.office.known() == {}
    # A moment before, it is good.
    in_time = west.office_of(now=made.expires_at - SECOND)
    await in_time.establish(made.token, introduction, "there")
    await west.peer("partner")


async def test_what_stands_in_the_record_ends_a_token_sooner(sides: Sides) -> None:
    west, partner = sides.west, sides.partner
    made = await west.office.invite("partner", HOUR, "here")
    ended = Invitation(made.id, SystemClock().now() - SECOND)
    await west.consul.kv_put(peers.PREFIX + "partner", ended.encode())
    with pytest.raises(PeerError, match="has expired"):
        await partner.office.accept(made.token, "here")
    assert await partner.office.known() == {}


async def test_how_long_a_token_may_wait_has_bounds(sides: Sides) -> None:
    west = sides.west
    for wrong in (timedelta(), -SECOND, MAX_TTL + SECOND):
        with pytest.raises(InvalidInputError, match="ttl_seconds: must be more than 0, and at"):
            await west.office.invite("partner", wrong, "here")
    # Each violation at once.
    with pytest.raises(InvalidInputError, match=r"(?s)name.*ttl_seconds"):
        await west.office.invite("No name", timedelta(), "here")
    for seconds in (-1, 0, MAX_TTL.total_seconds() + 1, 1e300):
        asked = {"name": "partner", "ttl_seconds": seconds}
        answer = await west.api.call("POST", "/v1/peers/invitations", json=asked, admin=ADMIN_TOKEN)
        assert answer.status == 422, (seconds, answer.body)
        assert "ttl_seconds" in str(answer.body)
    assert await west.office.known() == {}
    for right in (SECOND, MAX_TTL):
        await west.office.invite("partner", right, "here")


async def test_a_token_does_not_outlive_the_certificate_that_signed_it(sides: Sides) -> None:
    west = sides.west
    end = (await west.issuer.zone_identity()).not_after
    now = SystemClock().now()
    assert end < now + MAX_TTL
    made = await west.office.invite("partner", MAX_TTL, "here")
    audience = peering.invited("partner")
    word = peering.read(peering.TOKEN, made.token, audience=audience, now=now)
    assert made.expires_at == word.expires_at == end.replace(microsecond=0)
    assert (await west.office.known())["partner"] == Invitation(made.id, made.expires_at)
    # One that ends before is not made to live longer.
    assert (await west.office.invite("partner", HOUR, "here")).expires_at < end - HOUR


async def test_of_two_who_invite_each_other_one_withdraws(sides: Sides) -> None:
    west, partner = sides.west, sides.partner
    ours = (await west.office.invite("partner", HOUR, "here")).token
    theirs = (await partner.office.invite("west", HOUR, "there")).token
    for side, token in ((partner, ours), (west, theirs)):
        with pytest.raises(PeeringRefusedError, match="is invited by this zone, too"):
            await side.office.accept(token, "here")
    # Neither token was shown: whoever withdraws his own can accept the other's.
    await partner.office.forget("west", "there")
    await partner.office.accept(ours, "there")
    assert (await west.peer("partner")).zone.trust_domain == "partner.example"
    assert (await partner.peer("west")).zone.trust_domain == "west.example"
    with pytest.raises(PeeringRefusedError, match="is a peer already"):
        await west.office.accept(theirs, "here")


async def test_an_introduction_is_held_to_the_token(sides: Sides, copy: Side) -> None:
    west, partner = sides.west, sides.partner
    token = (await west.office.invite("partner", HOUR, "here")).token
    other = ZoneId("partner.example", "other")
    for wrong in (
        await partner.introduction(west, token, zone=other),
        await partner.introduction(west, token, word_id="f" * 32),
        await partner.introduction(partner, token),
        token,
    ):
        with pytest.raises(PeeringTokenError):
            await west.office.establish(token, wrong, "there")
    # Of another zone, though it is for one of that name.
    theirs = (await copy.office.invite("partner", HOUR, "here")).token
    good = await partner.introduction(west, theirs)
    with pytest.raises(PeeringTokenError, match="not made by this zone"):
        await west.office.establish(theirs, good, "there")


async def test_names_and_trust_domains_are_taken_once(sides: Sides, copy: Side) -> None:
    west, partner = sides.west, sides.partner
    with pytest.raises(PeeringRefusedError, match="names of their own"):
        await west.office.invite("west", HOUR, "here")
    same = (await west.office.invite("copy", HOUR, "here")).token
    with pytest.raises(PeeringRefusedError, match="our own trust domain"):
        await copy.office.accept(same, "here")
    with pytest.raises(PeeringRefusedError, match="our own trust domain"):
        await west.office.establish(same, await copy.introduction(west, same), "there")
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


async def test_a_zone_without_a_gateway_invites_nobody(sides: Sides) -> None:
    west = sides.west
    await west.consul.kv_delete(PREFIX + "west")
    with pytest.raises(PeeringRefusedError, match="no gateway"):
        await west.office.invite("partner", HOUR, "here")


async def test_the_token_is_nowhere(sides: Sides, caplog: pytest.LogCaptureFixture) -> None:
    west, partner = sides.west, sides.partner
    caplog.set_level("DEBUG")
    asked = {"name": "partner", "ttl_seconds": 60}
    made = await west.api.call("POST", "/v1/peers/invitations", json=asked, admin=ADMIN_TOKEN)
    assert made.status == 201, made.body
    token = made.body["token"]

    async def check(*expected: str) -> None:
        # The header is the same for each token of the zone; the rest is the secret.
        for part in token.split(".")[1:]:
            for line in caplog.records:
                assert part not in repr(line.__dict__), line.name
            for side in (west, partner):
                for pair in (await side.consul.kv_list("mesh/")).value:
                    assert part.encode() not in pair.key.encode() + pair.data, pair.key
        said = [getattr(line, "action", "") for line in caplog.records]
        assert [each for each in said if each] == list(expected)

    held = (await west.consul.kv_get(peers.PREFIX + "partner")).value
    assert held is not None
    assert isinstance(peers.parse(held.data, "it"), Invitation)
    await check("peer invited")
    # Shown by the one, taken by the other; and refused by both when it is shown again.
    statuses = []
    for _ in range(2):
        answer = await partner.api.call(
            "POST", "/v1/peers", json={"token": token}, admin=ADMIN_TOKEN
        )
        statuses.append(answer.status)
        assert token not in str(answer.body)
    introduction = await partner.introduction(west, token)
    with pytest.raises(PeeringTokenError, match="used already") as refused:
        await west.office.establish(token, introduction, "there")
    assert token not in str(refused.value)
    assert statuses == [201, 409]
    await check("peer invited", "peer joined", "peer accepted")
