"""What goes together, and what goes first."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.sharing import units
from tests.sharing.units import ALONE, rank, unit_of

_ROOT: Final = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/traffic/test_timeouts.py::test_one[a::b]", "tests/traffic/"),
        ("tests/clients/vault/test_lease.py::test_one", "tests/clients/"),
        ("tests/traffic/test_faults_of_consul.py::test_one", ALONE),
        ("tests/e2e/test_egress_zones.py::test_one", "tests/e2e/test_egress_zones.py"),
        ("tests/zones/test_links.py::test_one", "tests/zones/test_links.py"),
        ("tests/edge_of/test_none.py::test_one", "tests/edge_of/test_none.py"),
    ],
)
def test_a_unit_is_a_file_or_a_room_that_shares_servers(test: str, unit: str) -> None:
    assert unit_of(test) == unit


def test_the_longest_go_first_and_what_runs_alone_last() -> None:
    longest = ["tests/zones/test_knowledge.py", "tests/zones/test_bed.py"]
    others = [ALONE, "tests/new/test_new.py", *longest]
    assert sorted(others, key=rank) == [*longest, "tests/new/test_new.py", ALONE]


def test_every_room_and_file_that_is_named_is_there() -> None:
    named = {*units._TOGETHER, *units._APART, *units._ALONE, *units._LONGEST}  # noqa: SLF001
    assert {each for each in named if not list(_ROOT.glob(f"{each}*"))} == set()
