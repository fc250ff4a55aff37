"""Traffic management goes on while Consul is away, and whichever of two zones is killed.

A real Consul and a real Vault, two control planes beside each other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.aio.tasks import Tasks
from mesh.demo.estate import Estate
from mesh.demo.processes import Child, start
from mesh.demo.servers import start_consul
from tests import realconsul
from tests.traffic.small import Small, made, manage
from tests.traffic.steady import Load, as_split
from tests.traffic.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

PROMPT = 5.0
"""Seconds within which a true deletion takes effect."""


@dataclass(slots=True)
class Consul:
    """A real server that can be killed, and started again on the same state."""

    home: Path
    stack: AsyncExitStack
    child: Child | None = None
    url: str = ""

    async def begin(self) -> None:
        """Start it for the first time."""
        self.home.mkdir()
        self.url = await start_consul(self._start, str(realconsul.binary()), self.home)

    async def again(self) -> None:
        """Start it once more."""
        command = [
            str(realconsul.binary()),
            "agent",
            "-config-file",
            str(self.home / "consul.json"),
        ]
        child = await self._start("consul", command, {})
        await child.answers(f"{self.url}/v1/health/service/consul?consistent")

    async def kill(self) -> None:
        """Kill it."""
        assert self.child is not None
        await self.child.kill()

    async def _start(self, name: str, command: Sequence[str], extra: Mapping[str, str]) -> Child:
        log = self.home / "log"
        self.child = await start(name, command, log=log, environment=extra)
        self.stack.push_async_callback(self.child.stop)
        return self.child


@dataclass(slots=True)
class Two:
    """The estate, the second of its zones, and their Consul."""

    small: Small
    second: Estate
    consul: Consul

    @property
    def first(self) -> Estate:
        """The first of its zones."""
        return self.small.estate


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    """An estate whose traffic is managed in every way at once."""
    home = tmp_path_factory.mktemp("faults")
    async with AsyncExitStack() as stack:
        consul = Consul(home / "consul", stack)
        await consul.begin()
        first = await stack.enter_async_context(Estate(home / "1", consul=consul.url))
        second = await stack.enter_async_context(Estate(home / "2"))
        await first.start_vault()
        second.beside(first)
        await first.start_zone()
        await second.start_zone()
        zones = {"zone_api": [first.zone_api, second.zone_api]}
        small = await stack.enter_async_context(made(first, zones))
        await manage(small, (first, second))
        yield Two(small, second, consul)


async def kill(zone: Estate) -> None:
    assert zone.zone is not None
    await zone.zone.kill()


async def test_two_zones_say_the_same_and_either_may_be_killed(two: Two) -> None:
    small = two.small
    said = await small.versions(two.first) | await small.versions(two.second)
    assert len(said) == len(small.estate.services)
    async with Load(small) as load:
        await kill(two.first)
        await small.in_sync(two.second)
        await small.has(said, two.second)
        await two.first.start_zone()
        await kill(two.second)
        await small.in_sync(two.first)
        await small.has(said, two.first)
        await two.second.start_zone()
        await load.reach(100)
    assert load.wrong == {}
    assert as_split(load.shares)


async def test_consul_is_killed_and_a_zone_starts_before_it_is_back(two: Two) -> None:
    small = two.small
    said, changes = await small.versions(two.first), await small.changes()
    async with Load(small) as load, Tasks() as tasks:
        await two.consul.kill()
        await load.reach(200)
        await small.has(said, two.first)
        await kill(two.first)
        starting = tasks.spawn("zone", two.first.start_zone())
        await load.reach(200)
        assert not starting.done()
        await two.consul.again()
        await starting
        await kill(two.second)
        await small.in_sync(two.first)
        await small.has(said, two.first)
        await load.reach(100)
    assert load.wrong == {}
    assert as_split(load.shares)
    assert await small.changes() == changes


async def test_last_policy_is_really_deleted(two: Two) -> None:
    small = two.small
    stand = (
        ("MeshHTTPRoute", "routes"),
        ("MeshTimeout", "policy"),
        ("MeshRateLimit", "policy"),
        ("MeshRequestAuthentication", "policy"),
    )
    await small.commit(gone=stand)
    began = time.monotonic()

    async def ended() -> bool | None:
        found = [(await small.call(path)).status for path in ("/limited", "/users")]
        return True if found == [200, 200] else None

    await until("no policy holds", ended)
    assert time.monotonic() - began < PROMPT
