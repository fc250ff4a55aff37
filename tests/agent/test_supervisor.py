"""Real Envoys: started, restarted, adopted, recorded, and handed over under load."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientOSError, ClientSession, ClientTimeout, TCPConnector, web

from mesh.agent import envoy_process
from mesh.agent.envoy_process import PLACES, Role, find_envoy
from mesh.agent.errors import EnvoyMissingError, PortTakenError
from mesh.agent.ports import check_free
from mesh.agent.recorder import Recorder
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD, Supervisor
from mesh.agent.validation import refusal
from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.envoy.resource import ENDPOINTS
from mesh.model.proxies import Inbound
from tests.agent import discovery
from tests.agent.conftest import free_port
from tests.agent.envoys import end_all
from tests.waiting import until

BINARY = find_envoy(None)


@dataclass
class Switch:
    """Whether the zone answers."""

    on: bool = True

    async def __call__(self) -> bool:
        """Answer as the supervisor's probe does."""
        return self.on


@dataclass
class Place:
    """One proxy under test."""

    settings: AgentSettings
    state: StateDir
    bootstrap: dict[str, Any]
    outbound: int
    zone: Switch
    binary: Path = BINARY

    @property
    def inbound(self) -> int:
        """The inbound port."""
        assert self.settings.inbound is not None
        return self.settings.inbound.port

    def recorder(self) -> Recorder:
        """Return what writes the last known good."""
        proxy = discovery.proxy(self.settings)
        return Recorder(
            proxy, self.state, SystemClock(), lambda file: refusal(BINARY, file, self.state)
        )

    def supervisor(self) -> Supervisor:
        """Return another agent's supervisor."""
        return Supervisor(
            self.settings,
            self.state,
            self.binary,
            self.bootstrap,
            SystemClock(),
            zone_answers=self.zone,
        )


@pytest.fixture
async def application() -> AsyncIterator[int]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.path}")

    app = web.Application()
    app.router.add_get("/{path:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
def place(tmp_path: Path, state: StateDir, application: int) -> Iterator[Place]:
    settings = AgentSettings(
        service="web",
        id="web-1",
        state_dir=state.path,
        zone_api=(("127.0.0.1", 1),),
        proof_kind="join-token",
        proof_file=tmp_path / "token",
        inbound=Inbound("127.0.0.1", free_port(), "127.0.0.1", application),
        drain_seconds=3.0,
        concurrency=1,
        log_level="error",
    )
    outbound = free_port()
    bootstrap = discovery.live(settings, state, application=application, outbound=outbound)
    yield Place(settings, state, bootstrap, outbound, Switch())
    end_all(state)


@contextlib.asynccontextmanager
async def supervised(place: Place) -> AsyncIterator[Supervisor]:
    """Run a supervisor; at the end, end what it started."""
    supervisor = place.supervisor()
    await supervisor.adopt()
    try:
        async with Tasks("test") as tasks:
            tasks.spawn("supervise", supervisor.run(), forever=True)
            yield supervisor
    finally:
        for process in supervisor.processes:
            await process.end()


async def serves(supervisor: Supervisor, role: Role) -> None:
    await until(
        lambda: supervisor.serving is not None and supervisor.serving.run.role is role,
        what=f"{role} serves",
    )


async def get(port: int, path: str = "/") -> str:
    async with (
        ClientSession(
            timeout=ClientTimeout(total=5), connector=TCPConnector(force_close=True)
        ) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert answer.status == 200
        return await answer.text()


async def record(place: Place, supervisor: Supervisor) -> bytes:
    recorder = place.recorder()
    live = supervisor.live
    assert live is not None
    assert not await recorder.poll(live.admin)
    assert await recorder.poll(live.admin)
    assert not await recorder.poll(live.admin)
    return place.state.read(LAST_GOOD) or b""


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


async def test_another_agent_takes_over_the_envoy_that_is_there(place: Place) -> None:
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
        await serves(first, Role.LIVE)
    (left,) = first.processes
    assert left.alive()
    async with supervised(place) as second:
        await serves(second, Role.LIVE)
        (process,) = second.processes
        assert (process.pid, process.adopted) == (left.pid, True)
        process.signal(signal.SIGKILL)
        await until(lambda: second.restarts == 1)
        await serves(second, Role.LIVE)
        left.exit_code()


async def test_changed_settings_replace_the_envoy_that_is_there(place: Place) -> None:
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
        await serves(first, Role.LIVE)
    (left,) = first.processes
    changed = {**place.bootstrap, "node": {**place.bootstrap["node"], "id": "web/other"}}
    async with supervised(dataclasses.replace(place, bootstrap=changed)) as second:
        await serves(second, Role.LIVE)
        await until(lambda: not left.alive())
        assert await get(place.inbound) == "hello /"


async def test_another_build_relieves_the_envoy_that_is_there_and_loses_no_request(
    place: Place, tmp_path: Path
) -> None:
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
        await serves(first, Role.LIVE)
        await record(place, first)
    (left,) = first.processes
    upgraded = tmp_path / "envoy"
    upgraded.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo version: another && exit\nexec {BINARY} "$@"\n'
    )
    upgraded.chmod(0o755)
    answered = 0

    async def call() -> None:
        nonlocal answered
        while left.alive():
            assert await get(place.inbound) == "hello /"
            answered += 1

    async with supervised(dataclasses.replace(place, binary=upgraded)) as second:
        await asyncio.wait_for(call(), 30)
        await serves(second, Role.LIVE)
        assert await get(place.inbound) == "hello /"
    assert answered


async def test_new_addresses_of_the_zone_have_the_envoy_relieved(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
        old = supervisor.live
        assert old is not None
        supervisor.follow(place.bootstrap)
        place.zone.on = False
        moved = {**place.bootstrap, "node": {**place.bootstrap["node"], "cluster": "moved"}}
        supervisor.follow(moved)
        # At the new ones nobody answers yet: the old one goes on.
        await until(lambda: supervisor.live is None)
        assert supervisor.serving is old
        assert await get(place.inbound) == "hello /"
        place.zone.on = True
        await until(lambda: supervisor.live is not None)
        await until(lambda: not old.alive())
        assert await get(place.inbound) == "hello /"
        assert supervisor.restarts == 0


async def test_an_envoy_that_still_waits_for_the_old_addresses_is_replaced(place: Place) -> None:
    waiting = {**place.bootstrap, "dynamic_resources": {"lds_config": discovery.source("absent")}}
    async with supervised(dataclasses.replace(place, bootstrap=waiting)) as supervisor:
        await until(lambda: bool(supervisor.processes))
        (old,) = supervisor.processes
        supervisor.follow(place.bootstrap)
        await serves(supervisor, Role.LIVE)
        await until(lambda: not old.alive())
        assert await get(place.inbound) == "hello /"


async def test_a_run_file_of_a_reused_process_id_deceives_nobody(place: Place) -> None:
    run = {"pid": 1, "started": 1, "role": "live", "digest": ""}
    place.state.write(envoy_process.run_file(PLACES[0]), json.dumps(run))
    assert await envoy_process.adopt(PLACES[0], place.state) is None


async def test_the_record_stands_alone(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        content = await record(place, supervisor)
    text = content.decode()
    for reference in ("path_config_source", "config_discovery", "rds", "eds_config"):
        assert f'"{reference}"' not in text
    assert json.loads(text)["static_resources"]["clusters"][0]["type"] == "STATIC"
    assert await refusal(BINARY, LAST_GOOD, place.state) == ""


async def test_a_change_is_recorded(place: Place) -> None:
    recorder = place.recorder()
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        live = supervisor.live
        assert live is not None
        await until(lambda: recorder.poll(live.admin))
        moved = free_port()
        discovery.publish(place.state, "eds", [discovery.assignment("local_app", moved)], ENDPOINTS)
        await until(lambda: recorder.poll(live.admin))
    assert str(moved).encode() in (place.state.read(LAST_GOOD) or b"")


async def test_with_the_zone_away_envoy_starts_from_the_record_at_once(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
    place.zone.on = False
    for kind in ("cds", "lds", "eds", "rds", "ecds"):
        place.state.remove(f"{kind}.json")
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.FALLBACK)
        assert await get(place.inbound, "/in") == "hello /in"
        assert await get(place.outbound, "/out") == "hello /out"
        assert supervisor.live is None


async def test_the_handover_to_the_zone_loses_no_request(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
    place.zone.on = False
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.FALLBACK)
        old = supervisor.serving
        assert old is not None
        done: list[str] = []
        reset: list[OSError] = []
        finished = asyncio.Event()

        async def load(port: int) -> None:
            # Kept connections and new ones by turns.
            async with ClientSession(timeout=ClientTimeout(total=5)) as kept:
                while not finished.is_set():
                    async with kept.get(f"http://127.0.0.1:{port}/kept") as answer:
                        assert answer.status == 200
                        done.append(await answer.text())
                    try:
                        done.append(await get(port, "/new"))
                    except ClientOSError as error:
                        # The kernel resets a connection that waits, not accepted, at a socket
                        # that closes (unless net.ipv4.tcp_migrate_req is set); the caller, for
                        # whom it is connected, learns it while connecting or when it has asked.
                        assert error.errno == errno.ECONNRESET  # noqa: PT017 - the others are lost calls
                        reset.append(error)
                    await asyncio.sleep(0.005)

        async with Tasks("load") as tasks:
            loads = [tasks.spawn(f"load {port}", load(port)) for port in (place.outbound,) * 3]
            await until(lambda: len(done) > 50)
            place.zone.on = True
            await until(lambda: not old.alive(), what="the old envoy is gone")
            await serves(supervisor, Role.LIVE)
            count = len(done)
            await until(lambda: len(done) > count + 50)
            finished.set()
            await asyncio.gather(*loads)
        assert len(done) > 100
        assert len(reset) <= len(loads)


def test_a_missing_envoy_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(EnvoyMissingError, match="leave it out"):
        find_envoy(tmp_path / "envoy")


def test_how_long_a_stop_may_wait_is_not_envoys_business(settings: AgentSettings) -> None:
    lines = [
        envoy_process.command(BINARY, "a", dataclasses.replace(settings, drain_seconds=seconds))
        for seconds in (1.0, 600.0)
    ]
    assert lines[0] == lines[1]


def test_nothing_secret_is_an_argument(settings: AgentSettings) -> None:
    line = " ".join(envoy_process.command(BINARY, "a", settings))
    assert settings.proof_file.read_text() not in line
    assert "join" not in line


async def test_a_port_that_is_taken_is_named(settings: AgentSettings) -> None:
    assert settings.inbound is not None
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", settings.inbound.port)
    async with server:
        with pytest.raises(PortTakenError, match=f"inbound .*{settings.inbound.port}"):
            check_free(settings.need("dc1"))
    check_free(settings.need("dc1"))
