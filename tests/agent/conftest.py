"""A state directory, a zone, settings, and what a test waits with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.demo.loopback import free_ports
from mesh.envoy import bootstrap
from mesh.model.proxies import Inbound
from tests.agent import discovery
from tests.agent.envoys import end_all
from tests.agent.fakezone import FakeZone
from tests.agent.program import Program
from tests.agent.supervised import Place, Switch


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    directory = StateDir(tmp_path / "state")
    yield directory
    directory.close()


@pytest.fixture
async def zone() -> AsyncIterator[FakeZone]:
    async with FakeZone().serve() as fake:
        yield fake


@pytest.fixture
def settings(tmp_path: Path, zone: FakeZone) -> AgentSettings:
    token = tmp_path / "join.token"
    token.write_text(zone.join_token())
    return AgentSettings(
        service="web",
        id="web-1",
        state_dir=tmp_path / "state",
        zone_api=(zone.address,),
        proof_kind="join-token",
        proof_file=token,
        inbound=Inbound("127.0.0.1", free_port(), "127.0.0.1", free_port()),
        listen=("127.0.0.1", free_port()),
        drain_seconds=5.0,
        concurrency=1,
        log_level="warning",
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
    live = discovery.live(settings, state, application=application, outbound=outbound)
    yield Place(settings, state, live, outbound, Switch())
    end_all(state)


@pytest.fixture
def program(settings: AgentSettings, tmp_path: Path, zone: FakeZone) -> Iterator[Program]:
    """A proxy with a last known good configuration, whose zone has an API but no xDS."""
    assert settings.inbound is not None
    state = StateDir(settings.state_dir)
    tcp = discovery.tcp_listener(settings.inbound.port)
    tcp["filter_chains"][0]["filters"].pop(0)
    local = discovery.assignment("local_app", settings.inbound.local_port)
    cluster = {"name": "local_app", "type": "STATIC", "load_assignment": local}
    content = bootstrap.static(discovery.proxy(settings), [tcp], [cluster])
    state.write(LAST_GOOD, json.dumps(content))
    zone.xds = [f"127.0.0.1:{free_port()}"]
    running = Program(settings, tmp_path, zone)
    yield running
    for process in running.started:
        process.kill()
        process.wait()
    end_all(state)
    state.close()


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    return free_ports(1)[0]
