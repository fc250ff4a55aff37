"""What goes together, and what goes first."""

from __future__ import annotations

import pytest

from tests.sharing.units import rank, unit_of


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/traffic/test_timeouts.py::test_one[a::b]", "tests/traffic"),
        ("tests/clients/vault/test_lease.py::test_one", "tests/clients"),
        ("tests/zones/test_links.py::test_one", "tests/zones/test_links.py"),
        ("tests/edge_of/test_none.py::test_one", "tests/edge_of/test_none.py"),
    ],
)
def test_a_unit_is_a_file_or_a_room_that_shares_servers(test: str, unit: str) -> None:
    assert unit_of(test) == unit


def test_the_longest_go_first_and_the_unknown_last() -> None:
    units = ["tests/new/test_new.py", "tests/zones/test_bed.py", "tests/zones/test_links.py"]
    assert sorted(units, key=rank) == list(reversed(units))
