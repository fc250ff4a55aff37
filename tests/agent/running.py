"""A whole agent in the test's own process, and what its readiness port says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from mesh.agent import http
from mesh.agent.main import Agent
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from tests.agent.envoys import end_all


@contextlib.asynccontextmanager
async def agent(settings: AgentSettings) -> AsyncIterator[Agent]:
    """Run an agent; at the end it is gone and Envoy is not."""
    state = StateDir(settings.state_dir)
    try:
        async with Tasks("test") as tasks:
            running = Agent(settings, state, SystemClock())
            tasks.spawn("agent", running.run())
            yield running
    finally:
        state.close()


async def says(settings: AgentSettings, line: str) -> bool:
    """Whether the proxy is ready and its metrics have ``line``."""
    server = http.Server(*settings.listen)
    try:
        ready = await http.request(server, "GET", "/ready")
        metrics = await http.request(server, "GET", "/metrics")
    except http.RequestError:
        return False
    return ready.ok and f"\n{line}\n" in metrics.body.decode()


def kill_envoys(settings: AgentSettings) -> None:
    state = StateDir(settings.state_dir)
    end_all(state)
    state.close()
