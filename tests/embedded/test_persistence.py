"""What was acknowledged is there after a restart, however the process ended."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from mesh.embedded.core import NODE_NAME
from mesh.embedded.persistence import FILE, PersistenceError
from mesh.embedded.server import EmbeddedRegistry
from tests.contract.api import Api, pause
from tests.embedded.process import EmbeddedProcess


async def test_every_kind_of_state_survives_a_restart(tmp_path: Path) -> None:
    paths = [
        "/v1/kv/a",
        "/v1/session/list",
        "/v1/catalog/nodes",
        "/v1/catalog/service/web",
        "/v1/health/state/any",
        "/v1/config/",
        "/v1/connect/intentions",
        "/v1/agent/services",
        "/v1/agent/checks",
    ]
    answers = []
    for first in (True, False):
        registry = EmbeddedRegistry(tmp_path)
        url = await registry.start()
        async with aiohttp.ClientSession() as session:
            api = Api(session, url, NODE_NAME)
            if first:
                await _fill(api)
            answers.append([(await api.get(path)).json for path in paths])
        await registry.close()
    assert answers[0] == answers[1]
    assert all(answers[0])


async def _fill(api: Api) -> None:
    session = (await api.put("/v1/session/create", {"TTL": "60s"})).json["ID"]
    await api.put("/v1/kv/a", b"1", acquire=session)
    await api.put("/v1/kv/gone", b"1")
    await api.delete("/v1/kv/gone")
    await api.register("node", "web")
    check = {"TTL": "60s", "Status": "passing"}
    await api.put("/v1/agent/service/register", {"Name": "app", "Check": check})
    query = {"source": "web", "destination": "api"}
    await api.put("/v1/connect/intentions/exact", {"Action": "allow"}, **query)
    await api.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"})


async def test_indexes_do_not_go_back_over_a_restart(tmp_path: Path) -> None:
    indexes = []
    for _ in range(2):
        registry = EmbeddedRegistry(tmp_path)
        url = await registry.start()
        async with aiohttp.ClientSession() as session:
            api = Api(session, url, NODE_NAME)
            asked = ("/v1/kv/none", "/v1/health/service/none", "/v1/config/")
            indexes += [(await api.get(path)).index for path in asked]
            await api.put("/v1/kv/x", str(len(indexes)).encode())
            indexes.append((await api.get("/v1/kv/x")).index)
        await registry.close()
    assert min(indexes[4:]) > max(indexes[:4])


async def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    async def write(api: Api, worker: int) -> None:
        for number in range(10_000):
            key = f"{worker}-{number}"
            await api.put(f"/v1/kv/{key}", b"x")
            acknowledged.append(key)

    with EmbeddedProcess(tmp_path) as process:
        async with aiohttp.ClientSession() as session:
            api = Api(session, process.url, NODE_NAME)
            writers = asyncio.gather(*(write(api, worker) for worker in range(8)))
            while len(acknowledged) < 200:
                await pause()
            process.kill()
            with pytest.raises(aiohttp.ClientError):
                await writers
            await asyncio.gather(
                *asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True
            )

    with EmbeddedProcess(tmp_path) as process:
        async with aiohttp.ClientSession() as session:
            found = (await Api(session, process.url, NODE_NAME).get("/v1/kv/", keys="")).json
    assert set(acknowledged) <= set(found)


async def test_two_registries_do_not_share_a_directory(tmp_path: Path) -> None:
    first, second = EmbeddedRegistry(tmp_path), EmbeddedRegistry(tmp_path)
    await first.start()
    try:
        with pytest.raises(PersistenceError, match="Is another registry running"):
            await second.start()
    finally:
        await second.close()
        await first.close()


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    registry = EmbeddedRegistry(tmp_path)
    with pytest.raises(PersistenceError, match="has format 99"):
        await registry.start()
    await registry.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    registry = EmbeddedRegistry(tmp_path)
    with pytest.raises(PersistenceError, match="not a database"):
        await registry.start()
    await registry.close()


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path / "new")
    await registry.start()
    assert (tmp_path / "new" / FILE).stat().st_mode & 0o077 == 0
    await registry.close()
