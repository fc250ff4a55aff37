"""Instances that share a real Redis, and what becomes of them when it goes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import grpc
from redis.asyncio import Redis as Connection

from tests.ratelimit.asking import OK, OVER, UNITS, Client, Redis, descriptor, page, ready
from tests.ratelimit.conftest import Start
from tests.waiting import until

PATIENT = "10s"
"""A deadline that a busy machine does not miss."""
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def counting_in(redis: Redis, timeout: str = PATIENT, **more: Any) -> dict[str, Any]:
    return {"url": redis.url, "timeout": timeout, **more}


async def test_all_instances_together_let_the_limit_pass(redis: Redis, instance: Start) -> None:
    running = [await instance(redis=counting_in(redis)) for _ in range(3)]
    clients = [Client(each.grpc) for each in running]
    narrow, wide = descriptor(("a", "1"), limit=50), descriptor(("b", "1"), limit=10_000)
    passed = await asyncio.gather(*(client.allowed([narrow], 40) for client in clients))
    assert sum(passed) == 50
    passed = await asyncio.gather(*(client.allowed([wide, narrow], 10) for client in clients))
    assert sum(passed) == 0
    other = descriptor(("c", "1"), limit=20)
    passed = await asyncio.gather(*(client.allowed([wide, other], 20) for client in clients))
    assert sum(passed) == 20
    # The scarce limit is taken first, so who came too late paid nothing for the other.
    answer = await clients[0].ask(wide)
    assert answer.statuses[0].limit_remaining == 10_000 - 20 - 1
    for client in clients:
        await client.__aexit__()


async def test_what_was_used_is_told_and_comes_back(redis: Redis, instance: Start) -> None:
    running = await instance(redis=counting_in(redis))
    limited = descriptor(("a", "1"), limit=3, unit=UNITS.SECOND)
    async with Client(running.grpc) as client:

        async def used_up() -> bool:
            return bool((await client.ask(limited)).overall_code == OVER)

        async def there_again() -> bool:
            answer = await client.ask(limited)
            (status,) = answer.statuses
            assert 0 <= status.duration_until_reset.ToTimedelta().total_seconds() <= 1
            return bool(answer.overall_code == OK)

        first = await client.ask(descriptor(("b", "1"), limit=3))
        assert first.statuses[0].limit_remaining == 2
        assert 3590 < first.statuses[0].duration_until_reset.seconds <= 3600
        await until(used_up)
        await until(there_again)


async def test_nothing_of_a_request_stands_in_redis_and_all_of_it_ends(
    redis: Redis, instance: Start
) -> None:
    running = await instance(redis=counting_in(redis, key_prefix="limits"))
    async with Client(running.grpc) as client:
        await client.ask(descriptor(("user", "ann@example.org"), limit=3, unit=UNITS.MINUTE))
    connection: Any = Connection.from_url(redis.url)
    try:
        keys = await connection.keys("*")
        assert len(keys) == 2
        for key in keys:
            assert key.startswith(b"limits:{")
            assert b"ann" not in key
            assert 0 < await connection.ttl(key) <= 120
    finally:
        await connection.aclose()


async def test_without_redis_nobody_gets_an_answer_until_it_is_back(
    redis: Redis, instance: Start
) -> None:
    running = await instance(redis=counting_in(redis))
    limited = descriptor(("a", "1"), limit=100)
    async with Client(running.grpc) as client:
        assert await client.allowed([limited], 20) == 20
        await redis.kill()
        assert await client.code(limited) == UNAVAILABLE

        async def not_ready() -> bool:
            return not await ready(running.health)

        await until(not_ready)
        began = time.monotonic()
        assert await client.code(limited) == UNAVAILABLE
        # Once it is known to be gone, nobody waits for it.
        assert time.monotonic() - began < 2
        # What needs no counter needs no Redis.
        assert (await client.ask(descriptor(("a", "1")))).overall_code == OK
        status, text = await page(running.health, "/ready")
        assert status == 503
        assert redis.url in json.loads(text)["reasons"][0]
        _, figures = await page(running.health, "/metrics")
        assert "mesh_ratelimit_store_up 0.0" in figures
        assert 'mesh_ratelimit_requests_total{answer="unavailable"} 2.0' in figures
        assert 'mesh_ratelimit_store_failures_total{kind="away"} 1.0' in figures

        await redis.start()

        async def is_ready() -> bool:
            return await ready(running.health)

        await until(is_ready)
        assert await client.allowed([limited], 20) == 20
        _, figures = await page(running.health, "/metrics")
        assert "mesh_ratelimit_store_up 1.0" in figures


async def test_a_redis_that_stands_still_costs_no_more_than_the_deadline(
    redis: Redis, instance: Start
) -> None:
    running = await instance(redis=counting_in(redis, "0.3s"))
    limited = descriptor(("a", "1"), limit=100)

    async def answered() -> bool:
        return bool(await client.code(limited) == grpc.StatusCode.OK)

    async with Client(running.grpc) as client:
        await until(answered)
        redis.hold()
        try:
            began = time.monotonic()
            assert await client.code(limited) == UNAVAILABLE
            assert 0.25 < time.monotonic() - began < 2
        finally:
            redis.go_on()
        await until(answered)


async def test_redis_may_come_after_the_service(tmp_path: Path, instance: Start) -> None:
    redis = Redis(tmp_path)
    running = await instance(wait=False, redis=counting_in(redis))
    limited = descriptor(("a", "1"), limit=1)
    async with Client(running.grpc) as client:
        assert await client.code(limited) == UNAVAILABLE
        try:
            await redis.start()

            async def is_ready() -> bool:
                return await ready(running.health)

            await until(is_ready)
            assert (await client.ask(limited)).overall_code == OK
        finally:
            await redis.kill()


async def test_the_password_comes_from_a_file_that_may_be_replaced(
    tmp_path: Path, instance: Start
) -> None:
    redis, file = Redis(tmp_path, "s3cr3t"), tmp_path / "password"
    file.write_text("wrong\n")
    try:
        await redis.start()
        running = await instance(wait=False, redis=counting_in(redis, password_file=str(file)))

        async def refused() -> bool:
            return "refuses the password" in (await page(running.health, "/ready"))[1]

        async def is_ready() -> bool:
            return await ready(running.health)

        await until(refused)
        file.write_text("s3cr3t\n")
        await until(is_ready)
    finally:
        await redis.kill()
