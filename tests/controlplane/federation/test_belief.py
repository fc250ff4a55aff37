"""What is believed of another zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.controlplane.federation.belief import EMPTY_FOR, heard, measured, unheard
from mesh.model.services import Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.record import ZoneRecord

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
API = {"api": Exported(Protocol.HTTP, 1)}


def said(at: datetime = NOON, **changed: Any) -> ZoneDocument:
    zone = Zone("west", "mesh.test", "PEM", (Gateway("10.0.0.1", 10001),), API)
    return ZoneDocument(replace(zone, **changed), "sha256:ab", published_at=at)


def known() -> ZoneRecord:
    record, emptied = heard(None, said(), NOON, emptied=None)
    assert emptied is None
    return record


def test_the_first_word_is_believed() -> None:
    assert known() == ZoneRecord(said(), NOON, NOON)


def test_news_is_told_from_the_same_read_again() -> None:
    same, _ = heard(known(), said(), NOON + 5 * SECOND, emptied=None)
    assert (same.read_at, same.heard_at) == (NOON + 5 * SECOND, NOON)
    news, _ = heard(same, said(NOON + 6 * SECOND), NOON + 7 * SECOND, emptied=None)
    assert news.heard_at == news.read_at == NOON + 7 * SECOND


def test_a_clock_that_differs_is_told() -> None:
    ahead = said(NOON + timedelta(minutes=5))
    record, _ = heard(known(), ahead, NOON + SECOND, emptied=None)
    assert record.skew == 299
    # Read again later, it says nothing of the clocks.
    again, _ = heard(record, ahead, NOON + 60 * SECOND, emptied=None)
    assert again.skew == 299


def test_silence_takes_nothing_away() -> None:
    record = unheard(known(), "its Consul cannot be read")
    assert record == replace(known(), error="its Consul cannot be read")
    back, _ = heard(record, said(), NOON + 60 * SECOND, emptied=None)
    assert not back.error


def test_sudden_emptiness_is_believed_once_it_has_lasted() -> None:
    for empty in (said(services={}), said(gateways=()), said(services={}, gateways=())):
        record, since = heard(known(), empty, NOON, emptied=None)
        assert record.document == said()
        assert "believed from 12:02:00 on" in record.error
        record, since = heard(record, empty, NOON + EMPTY_FOR - SECOND, emptied=since)
        assert (record.document, since) == (said(), NOON)
        record, since = heard(record, empty, NOON + EMPTY_FOR, emptied=since)
        assert (record.document, record.error, since) == (empty, "", None)


def test_an_emptiness_that_passes_begins_anew_the_next_time() -> None:
    empty = said(services={})
    record, since = heard(known(), empty, NOON, emptied=None)
    record, since = heard(record, said(), NOON + SECOND, emptied=since)
    assert (record.error, since) == ("", None)
    _, since = heard(record, empty, NOON + 9 * SECOND, emptied=since)
    assert since == NOON + 9 * SECOND


def test_one_service_less_is_believed_at_once() -> None:
    two = said(services={**API, "db": Exported(Protocol.TCP, 1)})
    record, _ = heard(None, two, NOON, emptied=None)
    record, _ = heard(record, said(), NOON, emptied=None)
    assert record.document == said()


def test_a_name_in_other_hands_is_not_believed() -> None:
    other = said(trust_domain="other.test", bundle="OTHER")
    record, _ = heard(known(), other, NOON + SECOND, emptied=None)
    assert record.document == said()
    assert "another zone has taken the name" in record.error
    assert "mesh zone forget west" in record.error


def test_a_distance_is_told_when_it_matters() -> None:
    record, samples = measured(known(), (), 10.0)
    assert (record.distance, samples) == (10.0, (10.0,))
    # A packet that was lost, or a link that was just mended, is no distance.
    for sample in (12.0, 2000.0, 11.0, 3000.0, 12.0):
        record, samples = measured(record, samples, sample)
        assert record.distance == 10.0
    for _ in range(4):
        record, samples = measured(record, samples, 40.0)
    assert record.distance == 40.0
    record, samples = measured(record, samples, 5.0)
    assert record.distance == 5.0
