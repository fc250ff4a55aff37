"""A state directory, a zone, settings, and what a test waits with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.demo.loopback import free_ports
from mesh.model.proxies import Inbound
from tests.agent.fakezone import FakeZone


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


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    return free_ports(1)[0]
