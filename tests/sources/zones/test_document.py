"""The zone's document, and the record that another zone keeps of it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.clients.consul import KeyValue
from mesh.model.services import Protocol
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones import document, record
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.record import ZoneRecord

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
WEST = Zone(
    "west",
    "mesh.test",
    "-----BEGIN CERTIFICATE-----",
    gateways=(Gateway("10.0.0.1", 10001), Gateway("fd00::1", 443)),
    services={
        "api": Exported(Protocol.HTTP, 3, {"v1": 2, "v2": 1}),
        "my_db": Exported(Protocol.TCP, 0),
        "mydb": Exported(Protocol.GRPC, 1),
    },
)
SAID = ZoneDocument(WEST, "sha256:ab", ("10.0.0.9:5678",), ("10.0.0.9:5679",), NOON)


def raw(**changed: Any) -> bytes:
    return json.dumps({**json.loads(SAID.encode()), **changed}).encode()


def test_what_is_written_is_what_is_read() -> None:
    read = document.parse(SAID.encode(), "the document")
    assert read == SAID
    assert read.published_at == NOON


def test_another_moment_is_no_other_document() -> None:
    later = document.parse(raw(published_at="2026-05-04T13:00:00+00:00"), "the document")
    assert later == SAID
    assert later.published_at != NOON


def test_everything_wrong_is_told_at_once() -> None:
    wrong = raw(
        zone="West",
        trust_domain="mesh/test",
        gateways=[{"address": "gate.example", "port": 0}],
        services=[{"name": "a b", "protocol": "smtp", "healthy": -1, "colour": "red"}],
        published_at="noon",
        secret="no",
    )
    with pytest.raises(InvalidInputError) as refused:
        document.parse(wrong, "the document")
    told = [str(each) for each in refused.value.violations]
    assert [one.partition(": ")[0] for one in told] == [
        "zone",
        "trust_domain",
        "gateways[0].address",
        "gateways[0].port",
        "services[0].name",
        "services[0].protocol",
        "services[0].healthy",
        "services[0].colour",
        "published_at",
        "secret",
    ]


def test_another_version_says_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match="is 2; this release reads 1: upgrade"):
        document.parse(raw(version=2), "the document")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b'["\xff"]', b"[" * 100_000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        document.parse(data, "the document")


KNOWN = ZoneRecord(SAID, NOON, NOON, skew=-1.5, distance=12.25, error="")


def pair(key: str, data: bytes) -> KeyValue:
    return KeyValue(f"{record.PREFIX}{key}", base64.b64encode(data).decode())


def test_a_record_keeps_the_document_and_how_it_is_known() -> None:
    read = record.parse(KNOWN.encode(), "the record")
    assert read == KNOWN
    assert read.zone.distance == 12.25


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"document": {}}', b'{"error": "\xff"}', KNOWN.encode()[:-1]]
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        record.parse(data, "the record")


def test_a_record_is_of_the_zone_that_its_key_names() -> None:
    raws = record.raw_records([pair("west", KNOWN.encode()), pair("", b"")])
    assert record.parse_zone(raws["west"]).name == "west"
    (raw_east,) = record.raw_records([pair("east", KNOWN.encode())]).values()
    with pytest.raises(InvalidInputError, match="is 'west', which is not the zone"):
        record.parse_zone(raw_east)
