"""What is heard of a peer: of its own only, over a leader's terms, and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.ca.bundle import from_pem
from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError
from mesh.clients.consul.answers import Answer, KeyValue
from mesh.clients.consul.errors import Call
from mesh.controlplane.peering import dialling
from mesh.controlplane.peering.following import PeerZone
from mesh.model.zones import Zone
from mesh.sources.zones import peers
from mesh.sources.zones.peers import EXPORTS, Peer
from tests.controlplane.peering.sides import HOUR, Side, Sides
from tests.traffic.waiting import until
from tests.xds.pki import Authority

WEST = peers.PREFIX + "west"


@dataclass(frozen=True, slots=True)
class Listener:
    """Looks at what ``partner`` knows of ``west``, while the clock of its followers moves on."""

    partner: Side
    clock: ManualClock

    async def comes(self, what: str, ask: Callable[[], Awaitable[bool | None]]) -> None:
        """Wait until ``ask`` says so."""

        async def moved() -> bool | None:
            await self.clock.advance(1.0)
            return await ask()

        await until(what, moved)

    async def hears(self, *services: str) -> None:
        """Wait until these, and no others, are what west lets partner call."""

        async def told() -> bool | None:
            found = await self.partner.peer("west")
            right = found.zone.services.keys() == set(services) and not found.record.error
            return True if right else None

        await self.comes(f"partner hears of {services}", told)


@pytest.fixture
async def listener(sides: Sides) -> Listener:
    return Listener(sides.partner, ManualClock(SystemClock().now()))


class Failing(ConsulClient):
    """While it ``fails`` nothing can be listed, and a write waits.

    ``writes`` says of each record that was to be written since when its peering is; ``refused``
    counts those that compare-and-set kept out, and ``looked`` what was read after one of them.
    """

    def __init__(self, address: ConsulAddress) -> None:
        """Let everything pass."""
        super().__init__(address)
        self.writes: list[datetime] = []
        self.refused = self.looked = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self.fails = False

    def fail(self) -> None:
        """Begin to fail."""
        self.fails = True
        self._passing.clear()

    def write_again(self) -> None:
        """Let writes pass."""
        self._passing.set()

    async def kv_list(self, prefix: str, **said: Any) -> Answer[tuple[KeyValue, ...]]:
        """List, or fail."""
        found = await super().kv_list(prefix, **said)
        if self.fails:
            raise ConsulError("it was told to fail", Call("GET", prefix, "here"), "Wait.")
        return found

    async def kv_put(self, key: str, value: bytes, **said: Any) -> bool:
        """Wait, and write."""
        written = peers.parse(value, key)
        assert isinstance(written, Peer)
        self.writes.append(written.since)
        await self._passing.wait()
        done = await super().kv_put(key, value, **said)
        self.refused += not done
        return done

    async def kv_get(self, key: str, **said: Any) -> Answer[KeyValue | None]:
        """Read."""
        found = await super().kv_get(key, **said)
        self.looked += bool(self.refused)
        return found


async def test_a_leader_that_leads_again_follows_again(sides: Sides, listener: Listener) -> None:
    west, partner = await sides.peered()
    followers = partner.peers(listener.clock)
    for term in ("first", "second"):
        await west.say("partner", term)
        async with Tasks(f"{term} term") as tasks:
            tasks.spawn("follow", followers.run())
            await listener.hears(term)


async def test_a_peer_made_again_while_consul_fails_is_another(
    sides: Sides, listener: Listener
) -> None:
    west, partner = await sides.peered()
    old = (await partner.peer("west")).since
    await west.say("partner", "first")
    async with Failing(partner.consul.address) as consul, Tasks("a term") as tasks:
        tasks.spawn("follow", partner.peers(listener.clock, consul).run())
        await listener.hears("first")
        consul.fail()
        await sides.parted()
        await sides.peered()
        made = await partner.peer("west")
        assert made.since > old

        # Whoever followed the old one comes to write what it knows of it, and finds another.
        async def refused() -> bool | None:
            return True if consul.looked else None

        await west.say("partner", "second")
        consul.write_again()
        await listener.comes("the old peer's follower is refused", refused)
        asked = len(consul.writes)
        await listener.clock.advance(60)
        assert consul.writes[asked:] == []
        assert await partner.peer("west") == made
        # As soon as Consul answers, the new one is heard, and stays what it is.
        consul.fails = False
        await listener.hears("second")
        await west.say("partner", "third")
        await listener.hears("third")
        assert (await partner.peer("west")).since == made.since
        assert set(consul.writes[asked:]) == {made.since}


async def test_a_record_that_cannot_be_read_for_a_while(sides: Sides, listener: Listener) -> None:
    west, partner = await sides.peered()
    await west.say("partner", "first")
    async with Failing(partner.consul.address) as consul, Tasks("a term") as tasks:
        tasks.spawn("follow", partner.peers(listener.clock, consul).run())
        await listener.hears("first")
        before = (await partner.consul.kv_get(WEST)).value
        assert before is not None
        await partner.consul.kv_put(WEST, b"of a later release")
        await west.say("partner", "second")

        async def refused() -> bool | None:
            return True if consul.refused else None

        await listener.comes("what is heard finds no place", refused)
        held = (await partner.consul.kv_get(WEST)).value
        assert held is not None
        assert held.data == b"of a later release"
        # Readable again, it is followed again.
        await partner.consul.kv_put(WEST, before.data)
        await listener.hears("second")


async def test_what_has_ended_is_cleared_away(sides: Sides, listener: Listener) -> None:
    partner = sides.partner
    await partner.office.invite("early", HOUR, "here")
    for name in ("early", "nobody"):
        await partner.say(name)

    async def keys(prefix: str) -> set[str]:
        return {each.removeprefix(prefix) for each in (await partner.consul.kv_keys(prefix)).value}

    async def left(prefix: str, *names: str) -> bool | None:
        return True if await keys(prefix) == set(names) else None

    async with Tasks("a term") as tasks:
        tasks.spawn("follow", partner.peers(listener.clock).run())
        await until("who is no peer is told nothing", partial(left, EXPORTS, "early"))
        assert await keys(peers.PREFIX) == {"early"}
        await listener.clock.advance(1.5 * HOUR.total_seconds())
        # It is looked at again when there is news.
        await partner.office.invite("late", 2 * HOUR, "here")
        await until("what has expired is withdrawn", partial(left, peers.PREFIX, "late"))
        await until("with what was to be told", partial(left, EXPORTS))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"[" * 100_000, id="depth"),
        pytest.param(b'{"index": "\\ud800", "document": {}}', id="half a character"),
        pytest.param(b'{"index": "1", "document": {}}', id="text"),
        pytest.param(b'{"index": true, "document": {}}', id="no number"),
    ],
)
async def test_no_answer_of_a_peer_ends_a_term(
    sides: Sides, listener: Listener, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    _, partner = await sides.peered()
    asked = 0

    async def body(*_: object) -> bytes:
        nonlocal asked
        asked += 1
        return answer

    async def told() -> bool | None:
        error = (await partner.peer("west")).record.error
        return True if "cannot be asked" in error and asked > 2 else None

    monkeypatch.setattr(dialling, "_body", body)
    async with Tasks("a term") as tasks:
        tasks.spawn("follow", partner.peers(listener.clock).run(), forever=True)
        await listener.comes("west is asked again and again", told)


def _odd(pem: str) -> str:
    """Return the first certificate of ``pem`` with a version that there is not."""
    der = from_pem(pem)[0].public_bytes(serialization.Encoding.DER)
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    return ssl.DER_cert_to_PEM_cert(odd)


async def test_what_a_peer_says_is_kept_and_of_its_own_only(sides: Sides, tmp_path: Path) -> None:
    west, partner = await sides.peered()
    say = partial(west.say, "partner", "api")

    async def error(part: str) -> bool | None:
        return True if part in (await partner.peer("west")).record.error else None

    async def believed() -> bool | None:
        found = await partner.peer("west")
        return True if found.zone.services.keys() == {"api"} and not found.record.error else None

    await say()
    follower = PeerZone(partner.consul, partner.zone, "west", partner.issuer, SystemClock())
    async with Tasks("test") as tasks:
        tasks.spawn("follow", follower.run(), forever=True)
        await until("west is heard", believed)
        # Both roots before either signs; then the old one may go.
        following_root = Authority(tmp_path, "next root")
        both = west.issuer.bundle().pem + following_root.bundle.read_text()
        await say(bundle=both)

        async def rotated() -> bool | None:
            return True if (await partner.peer("west")).zone.bundle == both else None

        await until("the roots have rotated", rotated)
        # Another trust domain, another zone, roots that are none: what was known stands.
        for wrong, why in (
            ({"trust_domain": "evil.example"}, "another zone has taken the name"),
            ({"name": "other"}, "is that of a zone other"),
            ({"bundle": "nothing"}, "cannot be read"),
            ({"bundle": _odd(both)}, "5 is not a valid X509 version"),
        ):
            await say(**wrong)
            await until(why, partial(error, why))
            found: Zone = (await partner.peer("west")).zone
            assert found.bundle == both
            assert found.services.keys() == {"api"}
        await say(bundle=both)
        await until("west is believed again", believed)
        # Ended there: what is known stands here, with the reason.
        await west.know()
        await west.consul.kv_delete(EXPORTS + "partner")
        await until("west is silent", partial(error, "cannot be asked"))
        assert (await partner.peer("west")).zone.services.keys() == {"api"}
        # Ended here: it does not come back by itself.
        await partner.office.forget("west", "here")
        await west.know_peer("partner")
        await say()
    assert (await partner.consul.kv_get(WEST)).value is None
