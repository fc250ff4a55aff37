"""The benches' fleet: its protocol with the bench, and how figures are printed."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.envoy import endpoint
from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Snapshot, pack
from tests.bench.report import Figure, publish, quantile
from tests.xds.conftest import ZONE, Zone, need
from tests.xds.following import forwarding, upstream, web_listener
from tests.xds.pki import Authority, Files


def content(port: int, *, routed: bool = True) -> Snapshot:
    return {
        CLUSTER: (pack("api", upstream("api")),),
        ENDPOINTS: (pack("api", endpoint.assignment_of("api", "127.0.0.1", port)),),
        LISTENER: (pack("web", web_listener(1)),) if routed else (),
        ROUTE: (pack("web", forwarding("api")),) if routed else (),
    }


class Driver:
    """Speaks with a fleet's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speak over its pipes."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._in = process.stdin
        self._out = process.stdout

    def tell(self, **command: Any) -> None:
        """Send a command."""
        self._in.write(json.dumps(command).encode() + b"\n")

    async def hear(self, event: str) -> dict[str, Any]:
        """Return the next answer, which must be an ``event``."""
        async with asyncio.timeout(20):
            answer: dict[str, Any] = json.loads(await self._out.readline())
        assert answer["event"] == event
        return answer


@pytest.fixture
async def driver(
    zone: Zone, authority: Authority, web: Files, tmp_path: Path
) -> AsyncIterator[Driver]:
    one = {
        "certificate": str(web.certificate),
        "key": str(web.key),
        "need": need().to_metadata(),
    }
    plan = {
        "host": "127.0.0.1",
        "port": zone.port,
        "server_name": ZONE.server_name,
        "bundle": str(authority.bundle),
        "proxies": [one] * 3,
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.fleet", str(tmp_path / "plan.json")),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Driver(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_fleet_follows_references_and_times_a_change(zone: Zone, driver: Driver) -> None:
    zone.book.snapshot = content(1)
    await driver.hear("ready")
    driver.tell(do="up", concurrency=2, timeout=10)
    up = await driver.hear("up")
    assert (up["proxies"], up["complete"], up["failed"]) == (3, 3, [])
    types = {one.type_url for one in zone.server.proxies()[0].types}
    assert types == {CLUSTER, ENDPOINTS, LISTENER, ROUTE}

    driver.tell(do="expect", id=1, name="api", type=ENDPOINTS, timeout=10)
    assert (await driver.hear("armed"))["proxies"] == 3
    changed = content(2)
    zone.server.publish(dict.fromkeys(zone.book.sessions, changed))
    reached = await driver.hear("reached")
    assert (reached["proxies"], reached["missing"]) == (3, [])
    assert up["last_ack"] < reached["first"] <= reached["last"]

    driver.tell(do="expect", id=2, name="web", type=LISTENER, gone=True, timeout=10)
    await driver.hear("armed")
    zone.server.publish(dict.fromkeys(zone.book.sessions, content(2, routed=False)))
    assert (await driver.hear("reached"))["missing"] == []

    driver.tell(do="expect", id=3, name="never", proxies=[1], timeout=0.01)
    await driver.hear("armed")
    assert (await driver.hear("reached"))["missing"] == [1]
    driver.tell(do="stats")
    assert (await driver.hear("stats"))["connected"] == 3
    driver.tell(do="down")


async def test_fleet_tells_who_failed(zone: Zone, driver: Driver) -> None:
    await driver.hear("ready")
    await zone.server.close(0)
    driver.tell(do="up", timeout=10)
    up = await driver.hear("up")
    assert up["complete"] == 0
    assert len(up["failed"]) == 3
    driver.tell(do="down")


def test_figures_are_a_table_and_then_json() -> None:
    out = io.StringIO()
    publish([Figure("xds", "fleet_up", 1.23456, "s", {"proxies": 1000})], out)
    head, row, blank, line = out.getvalue().splitlines()
    assert head.split() == ["bench", "metric", "value", "unit", "params"]
    assert row.split() == ["xds", "fleet_up", "1.2", "s", "proxies=1000"]
    assert blank == ""
    assert json.loads(line) == {
        "bench": "xds",
        "metric": "fleet_up",
        "value": 1.235,
        "unit": "s",
        "params": {"proxies": 1000},
    }


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_quantile(share: float, expected: int) -> None:
    assert quantile(range(1, 101), share) == expected
