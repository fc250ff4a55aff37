"""Ports that nobody else is given, whichever network he is in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Final

import pytest

from mesh.demo.loopback import free_ports

_TOLD: Final = (
    "from mesh.demo.loopback import free_ports\nprint(*free_ports(300), flush=True)\ninput()\n"
)


def told(*prefix: str) -> tuple[subprocess.Popen[str], set[int]]:
    """Return another process, which runs until it is told something, and what it was given."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", _TOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, {int(port) for port in process.stdout.readline().split()}


def test_none_is_given_twice() -> None:
    found = free_ports(50)
    assert len({*found, *free_ports(50)}) == 100
    assert {port + 1 for port in found}.isdisjoint(found)


@pytest.mark.parametrize("prefix", [(), ("unshare", "--net")], ids=["here", "elsewhere"])
def test_another_process_is_given_others_wherever_it_is(prefix: tuple[str, ...]) -> None:
    if prefix:
        up = 'ip link set lo up && exec "$0" "$@"'
        prefix = (*prefix, "sh", "-c", up)
    process, theirs = told(*prefix)
    try:
        assert len(theirs) == 300
        assert theirs.isdisjoint(free_ports(300))
    finally:
        process.communicate("\n", timeout=10)
    assert process.returncode == 0


def test_what_ends_leaves_its_block_to_others() -> None:
    process, theirs = told()
    claims = {Path(gettempdir(), f"mesh-ports-{port // 500 * 500}.lock") for port in theirs}
    assert all(each.exists() for each in claims)
    process.communicate("\n", timeout=10)
    assert not any(each.exists() for each in claims)
