"""``mesh zones``: what a zone knows of the others, for people and programs."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.cli.checks.model import Level
from mesh.cli.checks.other_zones import judge
from mesh.cli.zones import State, ZoneState, other_zone, own_zone, peer_zone
from mesh.clients.consul import KeyValue
from mesh.model.services import Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.peers import Invitation, Peer
from mesh.sources.zones.record import ZoneRecord

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
WEST = ZoneDocument(
    Zone(
        "west",
        "mesh.test",
        "PEM",
        (Gateway("10.0.0.1", 10001),),
        {"api": Exported(Protocol.HTTP, 2, {"v1": 1}), "db": Exported(Protocol.TCP, 0)},
    ),
    "sha256:ab",
    ("10.0.0.9:5678",),
    published_at=NOON,
)
KNOWN = ZoneRecord(WEST, NOON, NOON, skew=0.4, distance=12.34)


def seen(known: ZoneRecord = KNOWN, *, after: float = 5.0, is_member: bool = True) -> ZoneState:
    now = NOON + timedelta(seconds=after)
    return other_zone("west", known.encode(), now, is_member=is_member)


def test_a_zone_that_is_heard_is_ok() -> None:
    state = seen()
    assert state.row() == ("west", "ok", "5s ago", 1, "1/2", "12.3 ms", "same")
    document = state.document()
    assert document["gateways"] == [{"address": "10.0.0.1", "port": 10001}]
    assert document["services"]["api"] == {"protocol": "http", "healthy": 2, "subsets": {"v1": 1}}
    assert (document["state"], document["reason"]) == ("ok", "")


@pytest.mark.parametrize(
    ("known", "after", "is_member", "why"),
    [
        (replace(KNOWN, error="its Consul cannot be read"), 5, True, "its Consul cannot be read"),
        (KNOWN, 60, True, "last read 1m0s ago: does `mesh zone` run here"),
        (replace(KNOWN, read_at=NOON + timedelta(minutes=5)), 300, True, "said something 5m0s ago"),
        (KNOWN, 5, False, "`mesh zone forget west`"),
    ],
)
def test_one_that_is_not_is_stale_and_it_says_why(
    known: ZoneRecord,
    after: float,
    is_member: bool,  # noqa: FBT001 - a parameter of the test
    why: str,
) -> None:
    state = seen(known, after=after, is_member=is_member)
    assert state.state == "stale"
    assert why in state.why
    # What is known of it stands.
    assert state.document()["services"]["api"]["healthy"] == 2


@pytest.mark.parametrize(
    ("skew", "words"), [(299.0, "4m59s ahead"), (-7.0, "7s behind"), (4.9, "same")]
)
def test_a_clock_that_differs_is_told(skew: float, words: str) -> None:
    assert seen(replace(KNOWN, skew=skew)).row()[-1] == words


def test_a_zone_never_heard_of_is_unknown() -> None:
    state = other_zone("east", None, NOON, is_member=True)
    assert (state.state, state.row()[2:]) == ("unknown", ("",) * 5)
    assert "nothing was heard of it yet" in state.why
    assert other_zone("east", b"{", NOON, is_member=True).state == "unknown"


def test_our_own_zone_is_what_it_publishes() -> None:
    fresh = own_zone("west", WEST.encode(), NOON + timedelta(seconds=9))
    assert fresh.row() == ("west", "this zone", "9s ago", 1, "1/2", "", "")
    old = own_zone("west", WEST.encode(), NOON + timedelta(minutes=9))
    assert old.state == "stale"
    assert "9m0s old: is `mesh zone` running?" in old.why
    assert own_zone("west", None, NOON).state == "unknown"


def levels(own: ZoneState, *others: ZoneState) -> list[tuple[str, str]]:
    return [(found.level.value, found.text) for found in judge(own, others)]


def test_a_check_names_what_deserves_a_look() -> None:
    own = own_zone("east", _of("east", WEST), NOON + timedelta(seconds=1))
    assert levels(own) == [("ok", "there is no other zone")]
    assert levels(own, seen()) == [("ok", "1 other zone, heard")]
    assert levels(own, seen(), seen()) == [("ok", "2 other zones, all heard")]
    bare = replace(WEST, zone=replace(WEST.zone, gateways=()))
    lonely = own_zone("east", _of("east", bare), NOON + timedelta(seconds=1))
    told = levels(
        lonely,
        seen(replace(KNOWN, error="its Consul cannot be read")),
        seen(replace(KNOWN, document=bare, skew=300.0)),
    )
    assert [level for level, _ in told] == ["warning"] * 4
    assert "zone west is stale: its Consul cannot be read" in told[0][1]
    assert "zone west has no gateway: it cannot be called" in told[1][1]
    assert "differs by 300 s" in told[2][1]
    assert "nobody in another zone can call it" in told[3][1]


@pytest.mark.parametrize("others", [(), (seen(),)])
def test_our_own_zone_must_be_well_too(others: tuple[ZoneState, ...]) -> None:
    (silent,) = judge(own_zone("east", None, NOON), others)
    assert silent.level is Level.WARNING
    assert silent.text.startswith("zone east is unknown: it has published no document")
    assert silent.remedy.startswith("Start `mesh zone`")
    (old,) = judge(own_zone("east", _of("east", WEST), NOON + timedelta(minutes=9)), others)
    assert old.text.startswith("zone east is stale: its document is 9m0s old")


def test_who_is_only_invited_is_not_heard() -> None:
    own = own_zone("east", _of("east", WEST), NOON + timedelta(seconds=1))
    invited = ZoneState("partner", State.INVITED, peer=True)
    coming = ("ok", "partner is invited and has not come yet")
    assert levels(own, invited) == [("ok", "there is no other zone"), coming]
    assert levels(own, seen(), invited) == [("ok", "1 other zone, heard"), coming]


def _of(name: str, said: ZoneDocument) -> bytes:
    return replace(said, zone=replace(said.zone, name=name)).encode()


def test_peers_are_told_from_zones_of_the_federation() -> None:
    def pair(found: Peer | Invitation) -> KeyValue:
        return KeyValue("mesh/peers/west", base64.b64encode(found.encode()).decode())

    invited = peer_zone(pair(Invitation("id", NOON)), NOON)
    assert invited.row()[:2] == ("west (peer)", "invited")
    known = peer_zone(pair(Peer(KNOWN, NOON)), NOON + timedelta(seconds=5))
    assert known.row()[:3] == ("west (peer)", "ok", "5s ago")
    assert known.document()["peer"]
    silent = peer_zone(pair(Peer(replace(KNOWN, error="no answer"), NOON)), NOON)
    assert (silent.state, silent.why) == ("stale", "no answer")
    assert peer_zone(KeyValue("mesh/peers/west", ""), NOON).state == "unknown"
