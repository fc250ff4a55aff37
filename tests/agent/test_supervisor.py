"""Real Envoys: started, restarted when they end, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from mesh.agent import envoy_process
from mesh.agent.envoy_process import PLACES, Role
from mesh.aio.tasks import Tasks
from tests.agent.supervised import BINARY, Place, get, serves, supervised
from tests.waiting import until


async def test_envoy_serves_and_leaves_with_its_supervisor(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        assert await get(place.inbound) == "hello /"
        assert await get(place.outbound) == "hello /"
        (process,) = supervisor.processes
    assert not process.alive()


async def test_the_admin_socket_is_the_owners_only(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        socket = place.state.path / envoy_process.admin_socket(PLACES[0])
        assert socket.stat().st_mode & 0o777 == 0o600


async def test_a_crashed_envoy_is_restarted_after_a_pause(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        first = supervisor.live
        assert first is not None
        first.signal(signal.SIGKILL)
        await until(lambda: supervisor.restarts == 1)
        await serves(supervisor, Role.LIVE)
        assert await get(place.inbound) == "hello /"
        assert supervisor.live is not None
        assert supervisor.live.pid != first.pid


async def test_an_envoy_that_never_comes_up_is_retried_with_growing_pauses(place: Place) -> None:
    place.bootstrap["no_such_field"] = 1
    async with supervised(place) as supervisor:
        await until(lambda: supervisor.restarts >= 2)
        assert supervisor.serving is None


async def test_a_full_disk_is_waited_out(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = place.supervisor()
    # The bootstrap can be written, and the run file cannot.
    obstacle = place.state.path / f".{envoy_process.run_file(PLACES[0])}.new"
    obstacle.mkdir()
    try:
        async with Tasks("test") as tasks:
            tasks.spawn("supervise", supervisor.run(), forever=True)
            await until(lambda: "cannot be written" in caplog.text)
            assert not supervisor.processes
            assert not envoys_in(place.state.path)
            obstacle.rmdir()
            await serves(supervisor, Role.LIVE)
    finally:
        for process in supervisor.processes:
            await process.end()
        for pid in envoys_in(place.state.path):
            os.kill(pid, signal.SIGKILL)


def envoys_in(directory: Path) -> list[int]:
    """Return the processes that work in ``directory``."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (each / "cwd").readlink() == directory and (each / "exe").readlink() == BINARY:
                found.append(int(each.name))
    return found
