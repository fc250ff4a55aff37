"""What the service manager is told, on real sockets; and log lines as the journal reads them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.aio import journal
from mesh.aio.clock import ManualClock
from mesh.aio.notify import Notifier


class Manager:
    """A service manager: where it listens, and what it was told."""

    def __init__(self, address: str) -> None:
        """Listen at a path, or at an abstract name that begins with ``@``."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)  # noqa: FBT003 - the library's own signature

    def told(self) -> list[str]:
        """Return the messages since the last look."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    is_path = request.param == "path"
    made = Manager(str(tmp_path / "notify") if is_path else f"@mesh-test-{os.getpid()}")
    yield made
    made.close()


def test_the_manager_is_told(manager: Manager) -> None:
    notifier = Notifier(ManualClock(), manager.address)
    assert notifier
    notifier.status("waits for\nthe zone")
    notifier.ready()
    notifier.status("ready")
    notifier.status("ready")
    notifier.reloading()
    notifier.stopping()
    assert manager.told() == [
        "STATUS=waits for the zone",
        "READY=1",
        "STATUS=ready",
        "RELOADING=1\nMONOTONIC_USEC=0",
        "STOPPING=1",
    ]


async def test_the_watchdog_is_fed_three_times_before_it_bites(manager: Manager) -> None:
    clock = ManualClock()
    notifier = Notifier(clock, manager.address, watchdog=3.0)
    async with notifier.told("test"):
        await clock.sleeping()
        assert manager.told() == ["WATCHDOG=1"]
        await clock.advance(3.0)
        assert manager.told() == ["WATCHDOG=1"] * 3


async def test_a_description_is_said_when_it_changes(manager: Manager) -> None:
    clock = ManualClock()
    notifier = Notifier(clock, manager.address)
    words = iter(["one", "one", "two", "two"])
    async with notifier.told("test") as tasks:
        tasks.spawn("follow", notifier.follow(lambda: next(words), 5.0))
        await clock.sleeping()
        await clock.advance(10.0)
    assert manager.told() == ["STATUS=one", "STATUS=two"]


async def test_nobody_is_told_where_nobody_listens() -> None:
    notifier = Notifier(ManualClock())
    assert not notifier
    async with notifier.told("test"):
        notifier.ready()


def test_a_manager_that_is_gone_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(ManualClock(), str(tmp_path / "gone")).ready()
    assert "the service manager cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<2>"),
    ],
)
def test_every_line_says_how_bad_it_is(level: int, prefix: str) -> None:
    record = logging.makeLogRecord({"levelno": level, "msg": "one\ntwo"})
    said = journal.Prefixed(logging.Formatter()).format(record)
    assert said == f"{prefix}one\n{prefix}two"
