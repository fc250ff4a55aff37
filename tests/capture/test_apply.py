"""A table stays only where the operator can come back; else what was there before comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from mesh.capture import applying, guard
from mesh.capture.control import Control, control
from mesh.capture.errors import CaptureError, RolledBackError
from mesh.capture.nft import Nft
from mesh.capture.plan import Entrance, Plan, Taker
from mesh.capture.sockets import Place
from mesh.capture.table import NAME, removal, replacement
from mesh.config.types import HostPort
from tests.capture.host import Host
from tests.capture.plans import everything, names_only
from tests.waiting import until
from tests.zones import namespaces

GUARDED: Final = HostPort("198.51.100.9", 443)
SSH: Final = "192.0.2.1 40000 192.0.2.2 22"


@pytest.fixture
def earlier(host: Host) -> Iterator[str]:
    """What is loaded before."""
    host.nft.load(replacement(names_only()))
    yield host.nft.listed()
    host.nft.load(removal())


def applied(host: Host, plan: Plan, wanted: Control, path: Path) -> None:
    # Where this thread is, its connections are.
    with namespaces.inside(host.name):
        applying.apply(host.nft, plan, wanted, directory=path)


def test_a_proven_table_stays(host: Host, earlier: str, tmp_path: Path) -> None:
    applied(host, everything(), Control(guards=(GUARDED,)), tmp_path)
    assert host.nft.listed() == host.nft.as_listed(everything()) != earlier
    assert list(tmp_path.iterdir()) == []


def test_the_guard_runs_nothing_of_the_directory_it_is_started_in(
    host: Host, earlier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebodys = tmp_path / "somebodys" / "mesh"
    somebodys.mkdir(parents=True)
    (somebodys / "__init__.py").write_text("raise SystemExit('run as root')\n")
    monkeypatch.chdir(somebodys.parent)
    applied(host, everything(), Control(), tmp_path)
    assert host.nft.listed() != earlier


def test_what_would_capture_a_guarded_place_is_refused(
    host: Host, earlier: str, tmp_path: Path
) -> None:
    plan = replace(everything(), takers=(Taker("web", 15001, to_all=True, users=(0,)),))
    with pytest.raises(CaptureError, match="would be captured"):
        applied(host, plan, Control(guards=(GUARDED,)), tmp_path)
    assert host.nft.listed() == earlier


def test_the_port_of_the_session_is_not_captured(host: Host, earlier: str, tmp_path: Path) -> None:
    plan = everything(Entrance("web", 2222, 15006))
    with pytest.raises(CaptureError, match="this SSH session came by it"):
        applied(host, plan, control("192.0.2.1 40000 192.0.2.2 2222", ()), tmp_path)
    assert host.nft.listed() == earlier


def test_a_session_that_is_dead_before_is_told(host: Host, earlier: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="nothing was applied: the SSH session"):
        applied(host, everything(), control(SSH, ()), tmp_path)
    assert host.nft.listed() == earlier


def test_a_live_session_is_a_proof(host: Host, earlier: str, tmp_path: Path) -> None:
    with host.open_at_peer(socket.AF_INET) as client, namespaces.inside(host.name):
        server = socket.create_server(("192.0.2.2", 2222))
        with server:
            client.connect(("192.0.2.2", 2222))
            accepted, (address, port) = server.accept()
            with accepted:
                session = Control(
                    Place(ip_address(address), port), Place(ip_address("192.0.2.2"), 2222)
                )
                applying.apply(host.nft, everything(), session, directory=tmp_path)
    assert host.nft.listed() != earlier


class Breaking(Control):
    """Something that the new table breaks, though its rules do not name it."""

    asked = 0

    def broken(self) -> str:
        """Tell so from the second time on."""
        type(self).asked += 1
        return "it is broken" if type(self).asked > 1 else ""


def test_what_breaks_takes_the_table_back(host: Host, earlier: str, tmp_path: Path) -> None:
    with pytest.raises(RolledBackError, match="it is broken; what was there before is back"):
        applied(host, everything(), Breaking(), tmp_path)
    assert host.nft.listed() == earlier


def test_somebody_at_the_terminal_keeps_it(host: Host, earlier: str, tmp_path: Path) -> None:
    def confirm(seconds: float) -> bool:
        assert applying.WITHIN - 5 < seconds <= applying.WITHIN
        assert host.nft.listed() != earlier
        return True

    applying.apply(host.nft, everything(), Control(), confirm=confirm, directory=tmp_path)
    assert host.nft.listed() != earlier


def test_nobody_at_the_terminal_takes_it_back(host: Host, earlier: str, tmp_path: Path) -> None:
    with pytest.raises(RolledBackError, match="it was not confirmed"):
        applying.apply(
            host.nft, everything(), Control(), confirm=lambda _: False, directory=tmp_path
        )
    assert host.nft.listed() == earlier


def test_a_late_answer_is_no_answer(host: Host, earlier: str, tmp_path: Path) -> None:
    ran = []

    def confirm(_: float) -> bool:
        while host.nft.listed() != earlier:
            ran.append(1)
        return True

    with pytest.raises(RolledBackError, match="what was there before is back"):
        applying.apply(
            host.nft, everything(), Control(), confirm=confirm, within=1, directory=tmp_path
        )
    assert ran
    assert host.nft.listed() == earlier


def guards(path: Path) -> list[int]:
    """Return the processes that guard what is applied from ``path``."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        # Others may end meanwhile.
        with contextlib.suppress(OSError):
            if b"mesh.capture.guard\0" + bytes(path) in each.read_bytes():
                found.append(int(each.parent.name))
    return found


def test_without_its_guard_it_is_taken_back_all_the_same(
    host: Host, earlier: str, tmp_path: Path
) -> None:
    def confirm(_: float) -> bool:
        (pid,) = guards(tmp_path)
        os.kill(pid, signal.SIGKILL)
        return True

    with pytest.raises(RolledBackError, match="the guard is gone; what was there before is back"):
        applying.apply(host.nft, everything(), Control(), confirm=confirm, directory=tmp_path)
    assert host.nft.listed() == earlier


def killed(host: Host, earlier: str, path: Path) -> None:
    """Apply in a process, and kill it."""
    words = [sys.executable, "-m", "tests.capture.applier", str(path), *host.nft.command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "applied\n"
        assert host.nft.listed() != earlier
        os.kill(process.pid, signal.SIGKILL)


async def test_who_is_killed_leaves_what_was_before(
    host: Host, earlier: str, tmp_path: Path
) -> None:
    killed(host, earlier, tmp_path)
    await until(lambda: host.nft.listed() == earlier, what="the earlier table")


def test_what_cannot_be_restored_is_removed(host: Host, earlier: str, tmp_path: Path) -> None:
    restored = guard.restore(host.nft, f"{removal()}table inet mesh {{ nonsense }}\n")
    assert restored == guard.REMOVED
    assert host.nft.listed() == ""


def test_who_waits_for_a_removal_has_a_lock_that_others_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run"
    removed: list[int] = []

    def flock(descriptor: int, _: int) -> None:
        # Whoever had it first removed it and was done.
        if not removed:
            removed.append(descriptor)
            place.rmdir()

    monkeypatch.setattr("mesh.capture.applying.fcntl.flock", flock)
    with applying.alone(place):
        assert removed
        assert place.is_dir()


class Empty(Nft):
    """There is no table, and none is loaded."""

    def listed(self, name: str = NAME) -> str:  # noqa: ARG002 - there is none of any name
        """Return nothing."""
        return ""


def test_without_a_guard_nothing_is_applied_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CaptureError, match="no way to start the guard"):
        applying.apply(Empty(), everything(), Control(), directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_nft_it_is_told_what_to_install() -> None:
    with pytest.raises(CaptureError, match="install nftables"):
        Nft(("no-such-nft",)).listed()


def test_without_root_it_is_told_to_be() -> None:
    nft = Nft(("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "nft"))
    with pytest.raises(CaptureError, match="run it as root"):
        nft.listed()
