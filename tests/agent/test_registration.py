"""Registration with a real Consul agent, and with a zone."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from mesh.agent import http
from mesh.agent.consul import ConsulAgent, ConsulError
from mesh.agent.enrolment import Enrolment
from mesh.agent.errors import AgentError
from mesh.agent.registration import (
    ConsulRegistrar,
    Registration,
    ZoneRegistrar,
    consul_services,
    sidecar_id,
)
from mesh.agent.settings import AgentSettings, Consul, HealthCheck
from mesh.agent.state import StateDir
from mesh.agent.zone import ZoneClient
from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.model.proxies import Inbound, Upstream
from tests import realconsul
from tests.agent.conftest import free_port
from tests.agent.fakezone import FakeZone
from tests.waiting import until


@contextlib.asynccontextmanager
async def consul_agent(directory: Path, port: int) -> AsyncIterator[Consul]:
    """Run a Consul that forgets everything when it ends."""
    ports = {
        "http": port,
        "dns": -1,
        "server": free_port(),
        "serf_lan": free_port(),
        "serf_wan": -1,
        "grpc": -1,
    }
    file = directory / f"consul-{port}.json"
    file.write_text(json.dumps({"ports": ports, "performance": {"raft_multiplier": 1}}))
    process = start_consul(file)
    try:
        consul = Consul(url=f"http://127.0.0.1:{port}")
        await until(lambda: leads(consul), what="consul has a leader")
        yield consul
    finally:
        process.kill()
        process.wait()


def start_consul(file: Path) -> subprocess.Popen[bytes]:
    command = [str(realconsul.binary()), "agent", "-dev", "-bind=127.0.0.1", f"-config-file={file}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def leads(consul: Consul) -> bool:
    try:
        return len((await ask(consul, "/v1/status/leader")).body) > 2
    except http.RequestError:
        return False


async def ask(consul: Consul, path: str) -> http.Response:
    server, target = http.from_url(consul.url + path)
    return await http.request(server, "GET", target)


@pytest.fixture
def inbound(settings: AgentSettings) -> Inbound:
    assert settings.inbound is not None
    return settings.inbound


async def test_it_is_registered_again_after_consul_lost_its_state(
    settings: AgentSettings, inbound: Inbound, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        settings, upstreams=(Upstream("api", 9001),), tags=("v1",), meta={"team": "a"}
    )
    port, clock = free_port(), ManualClock()
    consul = Consul(url=f"http://127.0.0.1:{port}")
    registrar = ConsulRegistrar(settings, inbound, lambda: "127.0.0.1", ConsulAgent(consul))
    registration = Registration(registrar, clock)
    async with Tasks("test") as tasks:
        async with consul_agent(tmp_path, port):
            tasks.spawn("register", registration.run(), forever=True)
            await until(lambda: registration.registered)
            services = (await ask(consul, "/v1/agent/services")).json()
            assert set(services) == {"web-1", sidecar_id("web-1")}
            sidecar = services[sidecar_id("web-1")]
            assert sidecar["Kind"] == "connect-proxy"
            assert sidecar["Proxy"]["DestinationServiceID"] == "web-1"
            assert sidecar["Proxy"]["Upstreams"][0]["DestinationName"] == "api"
            assert services["web-1"]["Tags"] == ["v1"]
            checks = (await ask(consul, "/v1/agent/checks")).json()
            assert {each["ServiceID"] for each in checks.values()} == set(services)
        async with consul_agent(tmp_path, port):
            agent = ConsulAgent(consul)
            assert not await agent.has("web-1")

            async def back() -> bool:
                await clock.advance(10)
                return await agent.has(sidecar_id("web-1"))

            await until(back)
            await clock.sleeping()  # or what is still registering would do so after the next line
            await registration.deregister()
            assert (await ask(consul, "/v1/agent/services")).json() == {}


async def test_what_was_registered_by_half_is_deregistered(
    settings: AgentSettings, inbound: Inbound
) -> None:
    async with half_a_consul() as (consul, services):
        registrar = ConsulRegistrar(settings, inbound, lambda: "10.0.0.9", ConsulAgent(consul))
        clock = ManualClock()
        registration = Registration(registrar, clock)
        async with Tasks("test") as tasks:
            tasks.spawn("register", registration.run(), forever=True)
            await clock.sleeping()
        assert services == {"web-1"}
        assert not registration.registered
        await registration.deregister()
        assert not services


@contextlib.asynccontextmanager
async def half_a_consul() -> AsyncIterator[tuple[Consul, set[str]]]:
    """Serve a Consul whose token may not write sidecars, and that knows what is not there."""
    services: set[str] = set()

    async def register(request: web.Request) -> web.Response:
        service = (await request.json())["ID"]
        if service == sidecar_id("web-1"):
            return web.Response(status=403, text="Permission denied")
        services.add(service)
        return web.Response()

    async def deregister(request: web.Request) -> web.Response:
        service = request.match_info["id"]
        if service not in services:
            return web.Response(status=500, text=f'Unknown service "{service}"')
        services.remove(service)
        return web.Response()

    async def find(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["id"] in services else 404)

    app = web.Application()
    app.router.add_put("/v1/agent/service/register", register)
    app.router.add_put("/v1/agent/service/deregister/{id}", deregister)
    app.router.add_get("/v1/agent/service/{id}", find)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Consul(url=f"http://127.0.0.1:{runner.addresses[0][1]}"), services
    finally:
        await runner.cleanup()


async def test_an_address_that_cannot_be_told_yet_is_waited_for(
    settings: AgentSettings, inbound: Inbound, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown() -> str:
        raise AgentError("cannot tell which address callers should use", "")

    async with half_a_consul() as (consul, _):
        clock = ManualClock()
        registrar = ConsulRegistrar(settings, inbound, unknown, ConsulAgent(consul))
        async with Tasks("test") as tasks:
            task = tasks.spawn("register", Registration(registrar, clock).run(), forever=True)
            await clock.sleeping()
            assert not task.done()
    assert "cannot tell which address" in str(vars(caplog.records[-1])["reason"])


@pytest.mark.parametrize("content", ["secret-1\nsecret-2\n", "secret one", "secr\u00e9t"])
async def test_a_token_that_no_header_holds_is_refused_and_not_quoted(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "consul.token"
    file.write_text(content, encoding="utf-8")
    agent = ConsulAgent(Consul(url=f"http://127.0.0.1:{free_port()}", token_file=file))
    with pytest.raises(ConsulError, match=r"consul\.token holds more than a token") as refused:
        await agent.has("web-1")
    assert "sec" not in str(refused.value)


async def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    agent = ConsulAgent(Consul(url="https://127.0.0.1:1", ca_file=tmp_path / "absent.pem"))
    with pytest.raises(ConsulError, match=r"absent\.pem cannot be used"):
        await agent.has("web-1")


async def test_a_consul_that_is_not_there_is_an_error_with_a_remedy() -> None:
    agent = ConsulAgent(Consul(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(ConsulError, match=r"consul\.url"):
        await agent.has("web-1")


def test_the_check_is_the_one_that_was_asked_for(settings: AgentSettings, inbound: Inbound) -> None:
    asked = dataclasses.replace(settings, health=HealthCheck(kind="http", path="/ok", interval=3))
    app, sidecar = consul_services(asked, inbound, "10.0.0.1", passing=False)
    (check,) = app["Checks"]
    assert check["HTTP"] == f"http://127.0.0.1:{inbound.local_port}/ok"
    assert (check["Interval"], check["Status"]) == ("3s", "critical")
    assert {"AliasService", "TCP"} <= {key for each in sidecar["Checks"] for key in each}
    none = dataclasses.replace(settings, health=HealthCheck(kind="none"))
    assert consul_services(none, inbound, "10.0.0.1", passing=True)[0]["Checks"] == []


async def test_through_the_zone_each_refresh_tells_the_applications_health(
    settings: AgentSettings, inbound: Inbound, state: StateDir, zone: FakeZone
) -> None:
    client = ZoneClient(settings.zone_api)
    enrolment = Enrolment(settings, state, client, SystemClock())
    await enrolment.ensure()
    registrar = ZoneRegistrar(settings, inbound, lambda: "10.0.0.9", client, enrolment)
    with socket.create_server((inbound.local_address, inbound.local_port)):
        assert await registrar.refresh() == 10.0
    assert zone.registrations["web-1"]["health"] == "passing"
    zone.lease_seconds = 15.0
    assert await registrar.refresh() == 5.0
    found = zone.registrations["web-1"]
    assert (found["health"], found["address"]) == ("critical", "10.0.0.9")
    assert str(inbound.local_port) in found["output"]
    await registrar.deregister()
    assert not zone.registrations


async def test_a_registry_that_is_down_is_no_reason_to_stop(
    settings: AgentSettings, inbound: Inbound, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    consul = ConsulAgent(Consul(url=f"http://127.0.0.1:{free_port()}"))
    registrar = ConsulRegistrar(settings, inbound, lambda: "127.0.0.1", consul)
    registration = Registration(registrar, clock)
    async with Tasks("test") as tasks:
        tasks.spawn("register", registration.run(), forever=True)
        for _ in range(3):
            await clock.sleeping()
            await clock.advance(20)
            await asyncio.sleep(0)
    assert not registration.registered
    assert [each.message for each in caplog.records].count("not registered") == 1
