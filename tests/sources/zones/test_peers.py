"""What a zone keeps of its peers: an invitation, or a peer and the record of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.clients.consul import KeyValue
from mesh.model.services import Protocol
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones import peers
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.peers import Invitation, Peer
from mesh.sources.zones.record import Raw, ZoneRecord

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
PARTNER = Zone(
    "partner",
    "partner.example",
    "-----BEGIN CERTIFICATE-----",
    gateways=(Gateway("10.0.0.1", 10001),),
    services={"api": Exported(Protocol.HTTP, 3)},
)
SAID = ZoneDocument(PARTNER, "sha256:ab", ("10.0.0.9:5678",), ("10.0.0.9:5679",), NOON)
PEER = Peer(ZoneRecord(SAID, NOON, NOON, skew=0.5, distance=12.25), NOON)
INVITED = Invitation("token-1", NOON)


def raw(zone: str, data: bytes) -> Raw:
    pair = KeyValue(f"{peers.PREFIX}{zone}", base64.b64encode(data).decode())
    return peers.raw_peers([pair])[zone]


def wrong(data: bytes) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        peers.parse(data, "key mesh/peers/partner")
    assert "key mesh/peers/partner" in str(refused.value)
    return [str(each) for each in refused.value.violations]


@pytest.mark.parametrize("held", [INVITED, PEER])
def test_what_is_written_is_what_is_read(held: Invitation | Peer) -> None:
    assert peers.parse(held.encode(), "the record") == held


def test_what_is_read_is_a_peer_wherever_calls_go() -> None:
    assert not PEER.record.zone.peer
    found = peers.parse_zone(raw("partner", PEER.encode()))
    assert found == PEER.zone
    assert found is not None
    assert found.peer
    assert found.distance == 12.25


def test_who_is_only_invited_is_nowhere_to_call() -> None:
    assert peers.parse_zone(raw("partner", INVITED.encode())) is None


def test_a_record_is_of_the_peer_that_its_key_names() -> None:
    with pytest.raises(InvalidInputError) as refused:
        peers.parse_zone(raw("other", PEER.encode()))
    (violation,) = refused.value.violations
    assert violation.path == "peer.record"
    assert "is of 'partner', which is not the zone that the key names" in violation.message


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"invited": None, "peer": None},
        {**json.loads(INVITED.encode()), **json.loads(PEER.encode())},
    ],
)
def test_neither_and_both_are_refused(said: Mapping[str, Any]) -> None:
    (told,) = wrong(json.dumps(said).encode())
    assert "is neither an invitation nor a peer" in told


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        PEER.encode()[:-1],
        b'{"guest": {}}',
        b'{"invited": {"token_id": "\xff"}}',
        b'{"invited": {"token_id": "t", "expires_at": "noon"}}',
        b'{"invited": {"token_id": "t"}}',
        b'{"peer": {"record": {}}}',
    ],
)
def test_what_is_no_record_of_a_peer_is_refused(data: bytes) -> None:
    (told,) = wrong(data)
    assert "is not a record of a peer" in told


def test_what_is_wrong_in_the_record_is_told() -> None:
    said = json.loads(PEER.encode())
    said["peer"]["record"]["document"] |= {"zone": "Partner", "trust_domain": "no/domain"}
    told = wrong(json.dumps(said).encode())
    assert [one.partition(": ")[0] for one in told] == ["zone", "trust_domain"]


def test_the_folder_of_the_records_is_no_peer() -> None:
    pairs = [KeyValue(peers.PREFIX, ""), KeyValue(f"{peers.PREFIX}west", "")]
    assert set(peers.raw_peers(pairs)) == {"west"}
