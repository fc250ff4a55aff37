"""``mesh capture`` on a host of its own: a network namespace, with users of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from mesh.capture.table import removal
from mesh.cli import capture as cli
from tests.capture.host import Host
from tests.zones import namespaces

CAPTURE: Final = """
proxies:
  - {service: web, users: [web], outbound: 15001, inbound: {5432: 15006}}
dns: {}
"""
_USERS: Final = """\
root:x:0:0::/:/bin/sh
mesh:x:999:999::/:/bin/false
web:x:1001:1001::/:/bin/false
"""
_INSIDE: Final = """
mount -t tmpfs none /run && mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/resolv.conf
shift 2
exec "$@"
"""
Ran = subprocess.CompletedProcess[str]
Capture = Callable[..., Ran]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host(701) as made:
        yield made


@pytest.fixture
def capture(host: Host, tmp_path: Path) -> Iterator[Capture]:
    """Runs ``mesh capture`` on the host; nothing is loaded there at first."""
    files = {"passwd": _USERS, "resolv.conf": "nameserver 198.51.100.53\n", "capture.yaml": CAPTURE}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    outside = ["ip", "netns", "exec", host.name, "sh", "-ec", _INSIDE, "sh"]
    outside += [str(tmp_path / "passwd"), str(tmp_path / "resolv.conf")]

    def run(*words: str, prefix: tuple[str, ...] = (), config: bool = True) -> Ran:
        settings = ["--config", str(tmp_path / "capture.yaml")] if config else []
        command = [*outside, *prefix, sys.executable, "-m", "mesh.cli", "capture", *words]
        return subprocess.run(
            [*command, *settings],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    host.nft.load(removal())
    yield run
    host.nft.load(removal())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that this process reads."""
    end, ours = pty.openpty()
    with os.fdopen(ours) as stdin, os.fdopen(end, "wb"):
        monkeypatch.setattr(sys, "stdin", stdin)
        yield end


def test_enter_counts_once_the_table_is_loaded(
    terminal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(terminal, b"\n")
    assert select.select([sys.stdin], [], [], 10)[0]
    assert not cli._confirmed(0.2)  # noqa: SLF001 - what the operator is asked
    monkeypatch.setattr(cli, "note", lambda _: os.write(terminal, b"\n"))
    assert cli._confirmed(10)  # noqa: SLF001


def document(ran: Ran) -> Any:
    assert ran.returncode in {0, 1}, ran.stderr
    return json.loads(ran.stdout)


def test_a_dry_run_shows_and_changes_nothing(host: Host, capture: Capture) -> None:
    ran = capture("apply", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "redirect to :15001" in ran.stdout
    assert "+++ planned" in ran.stdout
    assert host.nft.listed() == ""


def test_the_life_of_a_table(host: Host, capture: Capture) -> None:
    guards = ("--guard", "198.51.100.9:443")
    assert document(capture("apply", *guards, "-o", "json")) == {"changed": True, "proxies": 1}
    table = host.nft.listed()
    assert document(capture("apply", "-o", "json"))["changed"] is False
    assert "+++" not in capture("apply", "--dry-run").stdout

    checked = document(capture("check", "-o", "json"))
    assert checked["ok"] is True, checked

    shown = document(capture("show", "-o", "json", config=False))
    ports = {each["chain"]: each["port"] for each in shown}
    assert (ports["take-web"], ports["inbound"]) == (15001, 15006)
    asked = next(each for each in shown if each["what"] == "questions for names of the mesh")
    # By `check`: the C library asks for both kinds of address from one socket.
    assert asked["packets"] > 0

    assert host.nft.listed() == table
    assert document(capture("remove", "-o", "json", config=False)) == {"changed": True}
    assert host.nft.listed() == ""
    assert document(capture("remove", "-o", "json", config=False)) == {"changed": False}
    assert "Nothing is loaded." in capture("show", config=False).stdout


def test_check_tells_what_is_missing(host: Host, capture: Capture, tmp_path: Path) -> None:
    text = CAPTURE.replace("15001", "15009").replace("users", "cgroups: [gone], users")
    (tmp_path / "capture.yaml").write_text(text)
    ran = capture("check")
    assert ran.returncode == 1
    assert "× no table is loaded" in ran.stdout
    assert "run: mesh capture apply" in ran.stdout
    assert "× nobody listens on tcp port 15009 (web)" in ran.stdout
    assert "‼ there is no cgroup gone" in ran.stdout
    applied = capture("apply", "--no-rollback")
    assert applied.returncode == 0
    assert "warning: there is no cgroup gone" in applied.stderr
    assert "warning: nobody listens on tcp port 15009 (web)" in applied.stderr
    host.nft.load("add rule inet mesh outbound counter")
    assert "× another table is loaded than planned" in capture("check").stdout


def test_check_tells_of_names_alone(host: Host, capture: Capture, tmp_path: Path) -> None:
    (tmp_path / "capture.yaml").write_text("dns: {port: 15054}\n")
    assert capture("apply", "--no-rollback").returncode == 0
    assert host.nft.listed() != ""
    ran = capture("check")
    assert ran.returncode == 1
    assert "× nobody listens on udp port 15054" in ran.stdout
    assert "→ see that one proxy of this host has `dns: 127.0.0.1:15054`" in ran.stdout
    # No service is known that could be asked for.
    assert "names resolve" not in ran.stdout


async def test_check_tells_that_calls_have_no_route(host: Host, capture: Capture) -> None:
    assert capture("apply", "--no-rollback").returncode == 0
    await namespaces.ip("route delete default", namespace=host.name)
    try:
        ran = capture("check")
    finally:
        await namespaces.ip("route add default via 192.0.2.1", namespace=host.name)
    assert ran.returncode == 1
    assert "× this host has no route to 240.0.0.0/4" in ran.stdout


def test_a_guarded_place_that_is_captured_is_refused(host: Host, capture: Capture) -> None:
    ran = capture("apply", "--guard", "no.address:1")
    assert ran.returncode == 2
    assert "remedy: write it as 10.0.0.5:443" in ran.stderr
    assert host.nft.listed() == ""


def test_a_guarded_place_that_is_away_is_told_before(host: Host, capture: Capture) -> None:
    # Nobody listens there, and nobody did.
    ran = capture("apply", "--guard", "127.0.0.1:1")
    assert ran.returncode == 2
    assert "nothing was applied: 127.0.0.1:1: no new connection" in ran.stderr
    assert host.nft.listed() == ""


def test_an_unknown_user_is_told(capture: Capture, tmp_path: Path) -> None:
    (tmp_path / "capture.yaml").write_text(CAPTURE.replace("[web]", "[webb]"))
    ran = capture("apply")
    assert ran.returncode == 2
    assert "proxies[0].users[0]: there is no user 'webb' on this host" in ran.stderr


def test_without_root_it_says_so(capture: Capture) -> None:
    prefix = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    ran = capture("apply", prefix=prefix)
    assert ran.returncode == 2
    assert "remedy: run it as root (CAP_NET_ADMIN is what it needs)" in ran.stderr


def test_without_nft_it_says_what_to_install(capture: Capture) -> None:
    ran = capture("show", config=False, prefix=("env", "PATH=/nowhere"))
    assert ran.returncode == 2
    assert "remedy: install nftables" in ran.stderr
