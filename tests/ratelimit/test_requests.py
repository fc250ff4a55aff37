"""What a request asks, and which counter each descriptor is about."""

from __future__ import annotations

import pytest
from google.protobuf import wrappers_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.violations import InvalidInputError
from mesh.ratelimit.requests import WINDOWS, read
from tests.ratelimit.asking import UNITS, descriptor, request

TEXT = st.text(max_size=6)
ENTRIES = st.lists(st.tuples(st.text(min_size=1, max_size=6), TEXT), min_size=1, max_size=3)
ASKED = st.tuples(st.text(min_size=1, max_size=6), ENTRIES, st.sampled_from(sorted(WINDOWS)))


def key(domain: str, entries: list[tuple[str, str]], unit: int, limit: int = 10) -> str:
    (found,) = read(request(descriptor(*entries, limit=limit, unit=unit), domain=domain))
    assert found is not None
    return found.key


@settings(deadline=None)
@given(ASKED, ASKED)
def test_keys_are_the_same_exactly_where_all_that_they_stand_for_is(
    one: tuple[str, list[tuple[str, str]], int], other: tuple[str, list[tuple[str, str]], int]
) -> None:
    assert (key(*one) == key(*other)) == (one == other)
    assert len(key(*one)) == 32


def test_the_order_of_entries_tells_counters_apart_and_the_amount_does_not() -> None:
    entries = [("a", "1"), ("b", "2")]
    assert key("d", entries, UNITS.DAY) != key("d", entries[::-1], UNITS.DAY)
    assert key("d", entries, UNITS.DAY, limit=10) == key("d", entries, UNITS.DAY, limit=20)


def test_a_value_of_any_length_makes_a_key_of_one_length() -> None:
    assert len(key("d", [("path", "x" * 100_000)], UNITS.DAY)) == 32


def test_every_unit_of_envoy_but_unknown_has_a_window() -> None:
    assert set(WINDOWS) == set(UNITS.values()) - {UNITS.UNKNOWN}


def test_cost_is_the_descriptors_else_the_requests_else_one() -> None:
    own = wrappers_pb2.UInt64Value(value=0)
    entries = ("a", "1")
    asked = (descriptor(entries, limit=1), descriptor(entries, limit=1, hits_addend=own))
    assert [each.cost for each in read(request(*asked, cost=7)) if each] == [7, 0]
    assert [each.cost for each in read(request(*asked)) if each] == [1, 0]


def test_a_descriptor_without_a_limit_asks_nothing() -> None:
    assert read(request(descriptor(("a", "1")))) == (None,)


def test_every_violation_is_told_at_once() -> None:
    empty = request(domain="")
    with pytest.raises(InvalidInputError) as caught:
        read(empty)
    assert {each.path for each in caught.value.violations} == {"domain", "descriptors"}
    with pytest.raises(InvalidInputError) as caught:
        read(
            request(descriptor(limit=1), descriptor(("", "x"), limit=1, unit=UNITS.UNKNOWN)),
        )
    assert {each.path for each in caught.value.violations} == {
        "descriptors[0].entries",
        "descriptors[1].entries[0].key",
        "descriptors[1].limit.unit",
    }
