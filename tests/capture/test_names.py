"""Names of the mesh, asked for by an ordinary program through the C library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mesh.capture.plan import Names, Plan
from mesh.capture.table import removal, replacement
from tests.capture.host import ANSWERS, DNS, Host
from tests.capture.plans import OWN, names_only

_ASKER: Final = str(Path(__file__).with_name("asker.py"))
_WITH: Final = (
    'mount --bind "$1" /etc/resolv.conf; mount --bind "$2" /etc/nsswitch.conf; shift 2; exec "$@"'
)
_AT_ONCE: Final = 1.0
"""Seconds; glibc waits five for an answer that does not come."""


@pytest.fixture(autouse=True)
def _bare(host: Host) -> Iterator[None]:
    yield
    host.nft.load(removal())


def asked(host: Host, directory: Path, resolv: str, *names: str) -> list[tuple[list[str], float]]:
    """Ask for ``names`` in a process that has ``resolv`` for its resolv.conf."""
    (directory / "resolv.conf").write_text(resolv)
    (directory / "nsswitch.conf").write_text("hosts: dns\n")
    files = [str(directory / each) for each in ("resolv.conf", "nsswitch.conf")]
    inside = ["ip", "netns", "exec", host.name, "sh", "-c", _WITH, "sh", *files]
    ran = subprocess.run(
        [*inside, sys.executable, _ASKER, *names],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [tuple(json.loads(line)) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(
    "resolv",
    [
        "nameserver 198.51.100.53\n",
        "nameserver 198.51.100.53\nnameserver 2001:db8:1::53\nsearch corp.test\noptions edns0\n",
        "nameserver 2001:db8:1::53\noptions rotate\n",
    ],
)
def test_each_name_is_answered_by_who_knows_it(host: Host, tmp_path: Path, resolv: str) -> None:
    host.nft.load(replacement(names_only()))
    names = ["api.mesh", "example.org", "api.dc1.mesh", "example.net"]
    for name, (found, _) in zip(names, asked(host, tmp_path, resolv, *names), strict=True):
        assert found == [ANSWERS["proxy" if name.endswith("mesh") else "peer"]], name


def test_no_other_name_needs_the_proxy(host: Host, tmp_path: Path) -> None:
    # Nobody listens on this port.
    host.nft.load(replacement(Plan(own=OWN, names=Names("mesh", DNS + 1))))
    resolv = "nameserver 198.51.100.53\nnameserver 198.51.100.54\n"
    ours, other = asked(host, tmp_path, resolv, "api.mesh", "example.org")
    assert other[0] == [ANSWERS["peer"]]
    assert max(ours[1], other[1]) < _AT_ONCE
    assert ours[0] == ["Temporary failure in name resolution"]
