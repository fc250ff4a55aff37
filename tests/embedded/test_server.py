"""What only the embedded registry has: its token, its socket, its limits, its timers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from mesh.aio.clock import ManualClock
from mesh.embedded.core import NODE_NAME
from mesh.embedded.server import EmbeddedRegistry
from tests.contract.api import Api
from tests.embedded.conftest import Start


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Consul-Token": "other"}, 403),
        ({"X-Consul-Token": "secret"}, 200),
        ({"Authorization": "Bearer secret"}, 200),
        ({"Authorization": "Basic secret"}, 403),
    ],
)
async def test_a_token_is_asked_of_every_request(
    start: Start, headers: dict[str, str], status: int
) -> None:
    api = await start(token="secret", headers=headers)
    for path in ("/v1/status/leader", "/v1/kv/?keys", "/v1/catalog/nodes"):
        reply = await api.get(path)
        assert reply.status in {status, 404 if status == 200 else status}
        assert status == 200 or reply.text == "Permission denied"


@pytest.mark.parametrize("default_allow", [True, False])
async def test_the_default_policy_decides_what_no_intention_matches(
    start: Start, *, default_allow: bool
) -> None:
    api = await start(default_allow=default_allow)
    path = "/v1/connect/intentions/check"
    reply = await api.get(path, source="a", destination="b")
    assert reply.json == {"Allowed": default_allow}
    policy = (await api.get("/v1/catalog/nodes")).headers["X-Consul-Default-Acl-Policy"]
    assert policy == ("allow" if default_allow else "deny")


async def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    await registry.start_unix(tmp_path / "registry.sock")
    connector = aiohttp.UnixConnector(str(tmp_path / "registry.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        reply = await Api(session, "http://registry", NODE_NAME).get("/v1/catalog/datacenters")
        assert reply.json == ["dc1"]
    await registry.close()


async def test_closing_answers_who_waits(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    url = await registry.start()
    async with aiohttp.ClientSession() as session:
        api = Api(session, url, NODE_NAME)
        index = (await api.get("/v1/catalog/nodes")).index
        blocked = asyncio.gather(api.get("/v1/catalog/nodes", index=index, wait="60s"))
        assert not (await asyncio.wait([blocked], timeout=0.1))[0]
        async with asyncio.timeout(5):
            await registry.close()
            (reply,) = await blocked
    assert reply.index == index


async def test_unsupported_features_are_refused_by_name(start: Start) -> None:
    api = await start()
    reply = await api.get("/v1/catalog/nodes", filter="Node == x")
    assert (reply.status, "filter" in reply.text) == (400, True)
    body = {"Name": "x", "Connect": {"SidecarService": {}}}
    reply = await api.put("/v1/agent/service/register", body)
    assert (reply.status, "SidecarService" in reply.text) == (400, True)
    reply = await api.put("/v1/agent/check/register", {"Name": "x", "GRPC": "x:1"})
    assert (reply.status, "GRPC" in reply.text) == (400, True)


async def test_a_service_that_stays_critical_is_deregistered(start: Start) -> None:
    clock = ManualClock()
    api = await start(clock=clock)
    check = {"TTL": "10s", "Status": "passing", "DeregisterCriticalServiceAfter": "90s"}
    await api.done(api.put("/v1/agent/service/register", {"Name": "app", "Check": check}))

    async def services() -> list[str]:
        return list((await api.get("/v1/agent/services")).json)

    async def critical() -> bool:
        return bool((await api.get("/v1/health/state/critical")).json)

    await clock.sleeping()
    await clock.advance(11)
    await api.eventually(critical)
    await clock.sleeping()
    # It turned critical after 10 or 11 seconds, whichever of them its timer saw.
    await clock.advance(88)
    assert await services() == ["app"]
    await clock.advance(3)

    async def gone() -> bool:
        return await services() == []

    await api.eventually(gone)


async def test_saying_again_that_it_fails_does_not_save_a_service(start: Start) -> None:
    clock = ManualClock()
    api = await start(clock=clock)
    check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "90s"}
    await api.done(api.put("/v1/agent/service/register", {"Name": "app", "Check": check}))
    for _ in range(2):
        await clock.sleeping(2)
        await api.done(api.put("/v1/agent/check/fail/service:app"))
        await clock.sleeping(2)
        await clock.advance(46)

    async def gone() -> bool:
        return not (await api.get("/v1/agent/services")).json

    await api.eventually(gone)


async def test_a_service_that_recovers_stays(start: Start) -> None:
    clock = ManualClock()
    api = await start(clock=clock)
    check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "90s"}
    await api.done(api.put("/v1/agent/service/register", {"Name": "app", "Check": check}))
    await clock.sleeping(2)
    await api.done(api.put("/v1/agent/check/pass/service:app"))
    await clock.advance(200)
    assert list((await api.get("/v1/agent/services")).json) == ["app"]


async def test_checks_go_on_after_a_restart(tmp_path: Path) -> None:
    for first in (True, False):
        clock = ManualClock()
        registry = EmbeddedRegistry(tmp_path, clock=clock)
        url = await registry.start()
        async with aiohttp.ClientSession() as session:
            api = Api(session, url, NODE_NAME)
            if first:
                check = {"TTL": "10s", "Status": "passing"}
                await api.put("/v1/agent/service/register", {"Name": "app", "Check": check})
            else:
                await clock.sleeping()
                await clock.advance(11)
                (found,) = (await api.get("/v1/health/state/critical")).json
                assert found["ServiceID"] == "app"
        await registry.close()


async def test_a_change_wakes_only_its_own_service_among_many(start: Start) -> None:
    api = await start()
    for number in range(50):
        await api.register("node", f"svc-{number}")
    index = {n: (await api.get(f"/v1/health/service/svc-{n}")).index for n in range(50)}
    blocked = {
        n: asyncio.gather(api.get(f"/v1/health/service/svc-{n}", index=index[n], wait="60s"))
        for n in range(50)
    }
    assert not (await asyncio.wait(blocked.values(), timeout=0.2))[0]
    await api.check("node", "svc-7", "critical")
    done, _ = await asyncio.wait(blocked.values(), timeout=0.2)
    assert done == {blocked[7]}
    for each in blocked.values():
        each.cancel()
    await asyncio.wait(blocked.values())
