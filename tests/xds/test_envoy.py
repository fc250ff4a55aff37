"""The server against the real Envoy, with the bootstrap that the agent writes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from mesh.demo.loopback import free_ports
from mesh.envoy import endpoint
from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Snapshot, pack
from tests.waiting import until
from tests.xds.conftest import Zone
from tests.xds.following import answering, following, upstream, web_listener
from tests.xds.pki import Authority, Files

pytestmark = pytest.mark.e2e


class Envoy:
    """A running Envoy that follows the zone."""

    def __init__(self, zone: Zone, state: Path) -> None:
        """Know where it runs and whom it follows."""
        self.zone = zone
        self.state = state
        self.port = free_ports(1)[0]

    def snapshot(self, body: str, *, timeout: float = 1.0, broken: bool = False) -> Snapshot:
        """Return a listener that answers ``body``, and a cluster beside it."""
        built = web_listener(self.port)
        if broken:
            built.filter_chains[0].filters[0].typed_config.value = b"\xff\xff"
        return {
            CLUSTER: (pack("api", upstream("api", timeout=timeout)),),
            ENDPOINTS: (pack("api", endpoint.assignment_of("api", "127.0.0.1", 1)),),
            LISTENER: (pack("web", built),),
            ROUTE: (pack("web", answering(body)),),
        }

    def publish(self, snapshot: Snapshot) -> None:
        """Give Envoy ``snapshot``."""
        self.zone.book.snapshot = snapshot
        self.zone.server.publish(dict.fromkeys(self.zone.book.sessions, snapshot))

    def in_sync(self) -> bool:
        """Whether Envoy has acknowledged all four types."""
        return any(proxy.in_sync and len(proxy.types) == 4 for proxy in self.zone.server.proxies())

    async def answers(self, body: str) -> None:
        """Wait until the listener answers ``body``."""
        async with aiohttp.ClientSession() as session:
            for _ in range(1000):
                if await self._get(session) == body:
                    return
                await asyncio.sleep(0.01)
        raise AssertionError(f"never answered {body!r}")

    async def stat(self, name: str) -> int:
        """Return one of Envoy's counters."""
        connector = aiohttp.UnixConnector(path=str(self.state / "envoy.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy/stats?filter=^{name}$") as response,
        ):
            found = re.search(r": (\d+)", await response.text())
        return int(found.group(1)) if found else 0

    async def _get(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/") as response:
                return await response.text()
        except aiohttp.ClientError:
            return ""


@pytest.fixture
async def envoy(zone: Zone, web: Files, authority: Authority, state: Path) -> AsyncIterator[Envoy]:
    running = Envoy(zone, state)
    zone.book.snapshot = running.snapshot("one")
    async with following(zone, web, authority, state):
        yield running


async def test_listener_arrives_and_changes_without_a_drain(envoy: Envoy) -> None:
    await envoy.answers("one")
    await until(envoy.in_sync)
    envoy.publish(envoy.snapshot("two"))
    await envoy.answers("two")
    await until(envoy.in_sync)
    assert await envoy.stat("listener_manager.listener_modified") == 0


async def test_changed_cluster_is_warm_at_once(envoy: Envoy) -> None:
    await envoy.answers("one")
    await until(envoy.in_sync)
    envoy.publish(envoy.snapshot("two", timeout=2.0))
    # Envoy acknowledges a cluster when it is warm; without its endpoints that takes 15 s.
    await until(envoy.in_sync, 5)
    assert await envoy.stat("cluster_manager.cluster_modified") == 1
    assert await envoy.stat("cluster_manager.warming_clusters") == 0
    await envoy.answers("two")


async def test_routes_change_once_a_new_cluster_is_warm(envoy: Envoy) -> None:
    await envoy.answers("one")
    await until(envoy.in_sync)
    changed = dict(envoy.snapshot("two"))
    changed[CLUSTER] = (*changed[CLUSTER], pack("db", upstream("db")))
    changed[ENDPOINTS] = (
        *changed[ENDPOINTS],
        pack("db", endpoint.assignment_of("db", "127.0.0.1", 1)),
    )
    pushed = len(envoy.zone.counts.pushed)
    envoy.publish(changed)
    await until(lambda: envoy.zone.counts.pushed[pushed:] == [CLUSTER, ENDPOINTS, ROUTE], 5)
    await envoy.answers("two")


async def test_refused_listener_leaves_the_last_good_one(envoy: Envoy) -> None:
    await envoy.answers("one")
    await until(envoy.in_sync)
    envoy.publish(envoy.snapshot("two", broken=True))
    await until(lambda: bool(envoy.zone.counts.nacked))
    await envoy.answers("two")
    [proxy] = envoy.zone.server.proxies()
    nack = next(one.nack for one in proxy.types if one.type_url == LISTENER)
    assert nack is not None
    assert nack.names == ("web",)
    assert "web" in nack.reason
    envoy.publish(envoy.snapshot("three"))
    await envoy.answers("three")
    await until(envoy.in_sync)


async def test_after_a_reconnect_only_what_differs_is_sent(envoy: Envoy) -> None:
    await envoy.answers("one")
    await until(envoy.in_sync)
    envoy.zone.book.snapshot = envoy.snapshot("two")
    pushed = len(envoy.zone.counts.pushed)
    [before] = envoy.zone.server.proxies()
    assert envoy.zone.server.drop(before.session)
    await envoy.answers("two")
    await until(envoy.in_sync)
    assert envoy.zone.counts.pushed[pushed:] == [ROUTE]
    [after] = envoy.zone.server.proxies()
    assert after.session != before.session
