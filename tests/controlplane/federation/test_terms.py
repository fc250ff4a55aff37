"""What a leader knows of other zones: over its terms, and against what others do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.consul.policy_records import MIRROR, PREFIX
from mesh.controlplane.federation.belief import EMPTY_FOR
from mesh.controlplane.federation.following import Following
from mesh.controlplane.federation.mirroring import Mirror
from mesh.demo.loopback import free_ports
from mesh.embedded.server import EmbeddedRegistry
from mesh.model.services import Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones import document, record
from mesh.sources.zones.document import ZoneDocument
from tests.traffic.waiting import until

TOKEN = "both-have-it"


@dataclass(frozen=True, slots=True)
class Two:
    """``east``, and ``west`` that it follows."""

    east: ConsulClient
    west: ConsulClient

    async def publish(self, fingerprint: str, domain: str = "mesh.test") -> None:
        """Say something new in west."""
        zone = Zone(
            "west",
            domain,
            "PEM",
            (Gateway("127.0.0.1", 1),),
            {"api": Exported(Protocol.HTTP, 1)},
        )
        said = ZoneDocument(zone, fingerprint, published_at=SystemClock().now())
        await self.west.kv_put(f"{document.PREFIX}west", said.encode())

    async def heard(self, fingerprint: str) -> None:
        """Wait until east has it."""

        async def so() -> bool | None:
            held = (await self.east.kv_get(f"{record.PREFIX}west")).value
            if held is None:
                return None
            known = record.parse(held.data, "the record")
            return True if known.document.fingerprint == fingerprint else None

        await until(f"{fingerprint} is known in east", so)


class Held(ConsulClient):
    """Writes only while ``passing``; ``waiting`` tells that a write waits."""

    def __init__(self, address: ConsulAddress) -> None:
        """Let everything pass."""
        super().__init__(address)
        self.passing, self.waiting = asyncio.Event(), asyncio.Event()
        self.passing.set()

    async def kv_put(self, key: str, value: bytes, **said: Any) -> bool:
        """Wait, and write."""
        if not self.passing.is_set():
            self.waiting.set()
        await self.passing.wait()
        return await super().kv_put(key, value, **said)


@asynccontextmanager
async def two(directory: Path) -> AsyncIterator[Two]:
    """Start a registry for each."""
    east_port, west_port = free_ports(2)
    known = {"west": f"http://127.0.0.1:{west_port}"}
    east = EmbeddedRegistry(directory / "east", TOKEN, "east", neighbours=known)
    west = EmbeddedRegistry(directory / "west", TOKEN, "west")
    await east.start("127.0.0.1", east_port)
    await west.start("127.0.0.1", west_port)
    try:
        async with (
            ConsulClient(ConsulAddress(url=east.url, token=TOKEN)) as here,
            ConsulClient(ConsulAddress(url=west.url, token=TOKEN)) as there,
        ):
            yield Two(here, there)
    finally:
        await east.close()
        await west.close()


async def test_a_leader_that_leads_again_follows_again(tmp_path: Path) -> None:
    async with two(tmp_path) as found:
        following = Following(found.east, "east", SystemClock())
        for term in ("sha256:first", "sha256:second"):
            await found.publish(term)
            async with Tasks("a term") as tasks:
                tasks.spawn("follow", following.run())
                await found.heard(term)


async def test_what_is_forgotten_while_it_is_written_does_not_come_back(tmp_path: Path) -> None:
    async with two(tmp_path) as found, Held(found.east.address) as own:
        await found.publish("sha256:first")
        async with Tasks("a term") as tasks:
            tasks.spawn("follow", Following(own, "east", SystemClock()).run())
            await found.heard("sha256:first")
            own.passing.clear()
            await found.publish("sha256:second")
            await own.waiting.wait()
            await found.east.kv_delete(f"{record.PREFIX}west")
            own.passing.set()
            # Of another trust domain, it is believed only if nothing is known of the old one.
            await found.publish("sha256:third", "other.test")
            await found.heard("sha256:third")


async def test_copies_outlive_a_primary_that_cannot_be_read(tmp_path: Path) -> None:
    async with two(tmp_path) as found:
        clock = ManualClock()
        mirror = Mirror(found.east, "east", clock)
        policy = f"{PREFIX}default/MeshRateLimit/guards"
        await found.west.kv_put(policy, b"{}")
        there = (await found.west.kv_list(PREFIX)).value
        await mirror.copy(there, readable=True)

        async def copies() -> int:
            return len((await found.east.kv_list(MIRROR)).value)

        # For however long: its token may have lost its rights, and Consul answers "nothing".
        for _ in range(3):
            await mirror.copy((), readable=False)
            await clock.advance(EMPTY_FOR.total_seconds())
        assert await copies() == 1
        # It says so itself: believed once it has lasted.
        await mirror.copy((), readable=True)
        assert await copies() == 1
        await clock.advance(EMPTY_FOR.total_seconds())
        await mirror.copy((), readable=True)
        assert await copies() == 0
