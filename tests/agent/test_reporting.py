"""What the agent tells the service manager: in words, and as a program."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mesh.agent.envoy_process import Role
from mesh.agent.identity import Svid
from mesh.agent.reporting import in_words
from tests.agent.program import Program, proc
from tests.waiting import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVID = Svid("mesh.example", "dc1", "web", "0a", NOW, NOW + timedelta(hours=1), ())


@pytest.mark.parametrize(
    ("svid", "role", "reasons", "problem", "words"),
    [
        (None, None, (), "", "asks the zone for an identity"),
        (None, None, (), "zone:5678 is away", "waits for the zone: zone:5678 is away"),
        (SVID, None, (), "", "starts Envoy"),
        (
            SVID,
            Role.LIVE,
            (),
            "",
            "ready; follows zone dc1; certificate until 2026-01-01 01:00 UTC",
        ),
        (
            SVID,
            Role.FALLBACK,
            ("no listener", "expired"),
            "zone:5678 is away",
            (
                "not ready: no listener, expired; serves the last known good configuration until "
                "zone dc1 answers; certificate until 2026-01-01 01:00 UTC; not renewed: "
                "zone:5678 is away"
            ),
        ),
    ],
)
def test_an_operator_reads_how_the_proxy_is(
    svid: Svid | None, role: Role | None, reasons: tuple[str, ...], problem: str, words: str
) -> None:
    assert in_words(svid, role, reasons, problem=problem) == words


class Heard:
    """The service manager of a test: what it was told, one message after another."""

    def __init__(self, manager: socket.socket) -> None:
        """``manager`` does not block."""
        self._manager = manager
        self.told: list[str] = []

    async def until(self, word: str) -> None:
        """Wait for the next message that has ``word``."""
        await until(lambda: self._next(word), what=word)

    def _next(self, word: str) -> bool:
        try:
            self.told.append(self._manager.recv(4096).decode())
        except BlockingIOError:
            return False
        return word in self.told[-1]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """A service manager for programs that the test starts, with a watchdog of 0.6 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        yield Heard(manager)


async def test_a_proxy_tells_its_service_manager(program: Program, heard: Heard) -> None:
    process = program.start()
    await heard.until("READY=1")
    assert await program.ready()
    # The zone of this test has no xDS.
    assert any("last known good configuration until zone" in each for each in heard.told)
    assert "WATCHDOG=1" in heard.told
    for pid in program.envoys():
        assert proc(pid, "environ").strip("\0") == f"PATH={os.defpath}"
    process.send_signal(signal.SIGHUP)
    await heard.until("RELOADING=1")
    await heard.until("READY=1")
    assert program.zone.asked.count("renew") == 1
    await heard.until("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    await heard.until("STOPPING=1")
    await heard.until("STATUS=stopping")
    await until(lambda: process.poll() is not None)
    assert process.returncode == 0


async def test_a_renewal_that_fails_ends_the_reload_too(program: Program, heard: Heard) -> None:
    process = program.start()
    await heard.until("READY=1")
    program.zone.renew_refusal = (503, "the zone is busy", "try again")
    process.send_signal(signal.SIGHUP)
    await heard.until("RELOADING=1")
    await heard.until("not renewed: ")
    await heard.until("READY=1")
