"""The host has another address: what is registered follows, in place, under the same id."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from mesh.agent.consul import ConsulAgent
from mesh.agent.enrolment import Enrolment
from mesh.agent.registration import ConsulRegistrar, Registration, ZoneRegistrar, sidecar_id
from mesh.agent.settings import AgentSettings, Consul
from mesh.agent.state import StateDir
from mesh.agent.zone import ZoneClient
from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.model.proxies import Inbound
from tests.agent.conftest import free_port
from tests.agent.fakezone import FakeZone
from tests.agent.test_registration import ask, consul_agent
from tests.waiting import until

BEFORE, AFTER = "127.0.0.11", "127.0.0.12"


class Host:
    """A host whose address the test changes."""

    def __init__(self) -> None:
        """Begin with the first one."""
        self.address = BEFORE

    def __call__(self) -> str:
        """Return the present address."""
        return self.address


def of(settings: AgentSettings) -> Inbound:
    assert settings.inbound is not None
    return settings.inbound


async def places(consul: Consul) -> dict[str, str]:
    """Return the addresses of all that Consul's agent knows, by id."""
    services = (await ask(consul, "/v1/agent/services")).json()
    return {name: str(each["Address"]) for name, each in services.items()}


async def test_what_consul_knows_follows_while_the_agent_runs_and_when_it_starts(
    settings: AgentSettings, tmp_path: Path
) -> None:
    port, host = free_port(), Host()
    settings = dataclasses.replace(settings, tags=("v2", "v1"), meta={"team": "a"})
    async with consul_agent(tmp_path, port) as consul:
        seen: list[dict[str, str]] = []

        async def watch() -> None:
            while True:
                seen.append(await places(consul))
                await asyncio.sleep(0)

        async def follows(address: str, clock: ManualClock) -> bool:
            await clock.advance(10)
            return await places(consul) == {"web-1": address, sidecar_id("web-1"): address}

        def registration(clock: ManualClock) -> Registration:
            agent = ConsulAgent(consul)
            return Registration(ConsulRegistrar(settings, of(settings), host, agent), clock)

        async with Tasks("test") as tasks:
            tasks.spawn("watch", watch(), forever=True)
            clock = ManualClock()
            running = tasks.spawn("register", registration(clock).run(), forever=True)
            await until(lambda: follows(BEFORE, clock))
            host.address = AFTER
            await until(lambda: follows(AFTER, clock))
            # A power cut: nobody deregisters, and the host comes back elsewhere.
            running.cancel()
            await asyncio.wait({running})
            host.address = BEFORE
            clock = ManualClock()
            tasks.spawn("register again", registration(clock).run(), forever=True)
            await until(lambda: follows(BEFORE, clock))
        assert all(set(each) <= {"web-1", sidecar_id("web-1")} for each in seen)


async def test_what_is_as_it_should_be_is_not_registered_again(
    settings: AgentSettings, tmp_path: Path
) -> None:
    settings = dataclasses.replace(settings, tags=("v2", "v1"), meta={"team": "a"})
    async with consul_agent(tmp_path, free_port()) as consul:
        agent = Counted(consul)
        registrar = ConsulRegistrar(settings, of(settings), Host(), agent)
        path = f"/v1/agent/service/{sidecar_id('web-1')}"
        both = ["web-1", sidecar_id("web-1")]
        await registrar.refresh()
        assert agent.registered == both
        await registrar.refresh()
        assert agent.registered == both
        changed = dataclasses.replace(settings, tags=("v3",))
        await ConsulRegistrar(changed, of(settings), Host(), agent).refresh()
        assert agent.registered == both * 2
        assert (await ask(consul, path)).json()["Tags"] == ["v3"]


class Counted(ConsulAgent):
    """Consul's agent, and what it was told of: a check's state is lost each time."""

    def __init__(self, settings: Consul) -> None:
        """Nothing was told yet."""
        super().__init__(settings)
        self.registered: list[str] = []

    async def register(self, service: dict[str, Any]) -> None:
        """Count it."""
        self.registered.append(service["ID"])
        await super().register(service)


async def test_the_lease_at_the_zone_follows_at_its_next_refresh(
    settings: AgentSettings, state: StateDir, zone: FakeZone
) -> None:
    client, host = ZoneClient(settings.zone_api), Host()
    enrolment = Enrolment(settings, state, client, SystemClock())
    await enrolment.ensure()
    registrar = ZoneRegistrar(settings, of(settings), host, client, enrolment)
    await registrar.refresh()
    host.address = AFTER
    await registrar.refresh()
    assert {name: each["address"] for name, each in zone.registrations.items()} == {"web-1": AFTER}
