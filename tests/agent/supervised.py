"""A proxy whose Envoys a supervisor looks after, without the rest of an agent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from mesh.agent.envoy_process import Role, find_envoy
from mesh.agent.recorder import Recorder
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD, Supervisor
from mesh.agent.validation import refusal
from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from tests.agent import discovery
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
