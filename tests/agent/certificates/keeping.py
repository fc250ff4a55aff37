"""A keeper of certificates whose hands a test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.agent.certificates import Certificates
from mesh.agent.certificates.copies import Held
from mesh.agent.settings import AgentSettings
from mesh.agent.settings import Vault as Settings
from mesh.agent.state import StateDir
from mesh.aio.clock import Clock, ManualClock
from mesh.aio.tasks import Tasks
from mesh.model.certificates import CertificateSource
from tests.waiting import until


@dataclass
class Keeper:
    """A gateway's certificates."""

    certificates: Certificates
    clock: Clock

    async def held(self, source: CertificateSource) -> Held:
        """Ask as Envoy does until there is a certificate."""
        found: list[Held] = []

        async def ask() -> bool:
            held = await self.certificates.wanted(source.name)
            found[:] = [] if held is None else [held]
            return held is not None

        await until(ask, what=f"there is a certificate from {source.place}")
        return found[0]

    async def rests(self, certificates: int = 1) -> None:
        """Wait until all that is kept, and the sweeping, waits for a :class:`ManualClock`."""
        assert isinstance(self.clock, ManualClock)
        async with asyncio.timeout(10):
            await self.clock.sleeping(certificates + 1)

    async def complains(self, source: CertificateSource, text: str) -> None:
        """Ask as Envoy does until it is said why there is no certificate."""

        async def ask() -> bool:
            await self.certificates.wanted(source.name)
            return any(text in line for line in self.certificates.complaints())

        await until(ask, what=f"the keeper says {text!r} of {source.place}")


@asynccontextmanager
async def keeper(
    settings: Settings, state: StateDir, clock: Clock, *, draw: float = 0.5
) -> AsyncIterator[Keeper]:
    """Keep certificates until the block ends."""
    agent = AgentSettings(
        service="edge",
        id="edge-1",
        state_dir=state.path,
        zone_api=(("127.0.0.1", 1),),
        proof_kind="join-token",
        proof_file=state.path / "none",
        vault=settings,
    )
    certificates = Certificates(agent, state, clock, lambda: draw)
    async with Tasks("keeper") as tasks:
        tasks.spawn("keep", certificates.run(), forever=True)
        yield Keeper(certificates, clock)
