"""The service over gRPC, counting in memory."""

from __future__ import annotations

import json

import grpc

from tests.ratelimit.asking import OK, OVER, UNITS, Client, descriptor, page
from tests.ratelimit.conftest import Start

MINUTE = UNITS.MINUTE


def headers(answer: object) -> dict[str, str]:
    return {each.key: each.value for each in getattr(answer, "response_headers_to_add", ())}


async def test_each_status_is_filled_in_whole(instance: Start) -> None:
    running = await instance()
    asked = (
        descriptor(("user", "ann"), limit=2, unit=MINUTE),
        descriptor(("path", "/")),
        descriptor(("zone", "dc1"), limit=100),
    )
    async with Client(running.grpc) as client:
        answer = await client.ask(*asked)
    assert answer.overall_code == OK
    first, second, third = answer.statuses
    assert (first.code, first.limit_remaining) == (OK, 1)
    assert (first.current_limit.requests_per_unit, first.current_limit.unit) == (2, MINUTE)
    assert 0 < first.duration_until_reset.ToTimedelta().total_seconds() <= 60
    assert (second.code, second.HasField("current_limit")) == (OK, False)
    assert (third.code, third.limit_remaining) == (OK, 99)
    said = headers(answer)
    assert said["RateLimit-Limit"] == "2, 2;w=60, 100;w=3600"
    assert said["RateLimit-Remaining"] == "1"
    assert 0 < int(said["RateLimit-Reset"]) <= 60


async def test_one_limit_that_is_over_refuses_the_request(instance: Start) -> None:
    running = await instance()
    narrow, wide = descriptor(("a", "1"), limit=1), descriptor(("b", "1"), limit=9)
    async with Client(running.grpc) as client:
        assert (await client.ask(wide, narrow)).overall_code == OK
        answer = await client.ask(wide, narrow)
    assert answer.overall_code == OVER
    assert [each.code for each in answer.statuses] == [OK, OVER]
    assert [each.limit_remaining for each in answer.statuses] == [8, 0]
    assert headers(answer)["RateLimit-Limit"].startswith("1, ")


async def test_domains_and_values_count_apart(instance: Start) -> None:
    running = await instance(response_headers="none")
    limited = descriptor(("a", "1"), limit=1)
    async with Client(running.grpc) as client:
        answer = await client.ask(limited)
        assert not headers(answer)
        assert (await client.ask(limited, domain="other")).overall_code == OK
        assert (await client.ask(descriptor(("a", "2"), limit=1))).overall_code == OK
        assert (await client.ask(limited)).overall_code == OVER


async def test_many_callers_at_once_share_one_limit(instance: Start) -> None:
    running = await instance()
    async with Client(running.grpc) as one, Client(running.grpc) as other:
        asked = [descriptor(("a", "1"), limit=25)]
        assert await one.allowed(asked, 40) + await other.allowed(asked, 40) == 25


async def test_a_request_that_makes_no_sense_is_refused(instance: Start) -> None:
    running = await instance()
    async with Client(running.grpc) as client:
        code = await client.code(descriptor(limit=1))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_full_memory_is_unavailable(instance: Start) -> None:
    running = await instance(memory={"max_counters": 1})
    async with Client(running.grpc) as client:
        assert await client.code(descriptor(("a", "1"), limit=1)) == grpc.StatusCode.OK
        assert await client.code(descriptor(("a", "2"), limit=1)) == grpc.StatusCode.UNAVAILABLE
    _, figures = await page(running.health, "/metrics")
    assert 'mesh_ratelimit_store_failures_total{kind="full"} 1.0' in figures
    assert "mesh_ratelimit_memory_counters 1.0" in figures


async def test_figures_and_readiness_are_told(instance: Start) -> None:
    running = await instance()
    async with Client(running.grpc) as client:
        for _ in range(3):
            await client.ask(descriptor(("a", "1"), limit=2), descriptor(("b", "1")))
    _, figures = await page(running.health, "/metrics")
    for line in (
        'mesh_ratelimit_requests_total{answer="ok"} 2.0',
        'mesh_ratelimit_requests_total{answer="over_limit"} 1.0',
        'mesh_ratelimit_descriptors_total{verdict="over_limit"} 1.0',
        'mesh_ratelimit_descriptors_total{verdict="unlimited"} 3.0',
        "mesh_ratelimit_store_up 1.0",
        "mesh_ratelimit_requests_in_flight 0.0",
    ):
        assert line in figures
    assert (await page(running.health, "/live"))[0] == 200
    status, text = await page(running.health, "/ready")
    assert (status, json.loads(text)) == (200, {"ready": True, "reasons": []})
