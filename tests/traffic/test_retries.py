"""Which failed calls are tried again: every try is counted where it arrives, at the application.

``spare`` has one instance, so that all tries of a call arrive there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from mesh.demo.estate import HOST, free_ports
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route, policy
from tests.traffic.services import OUTSIDE

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

MANY = 1_000_000
RETRIES = 2
NO_OUTLIERS = policy(
    "MeshCircuitBreaker", "outlierDetection: {disabled: true}", service="spare", name="no-outliers"
)
SPECIAL = """
- matches: [{path: {type: Exact, value: /special}}]
  default: {}
"""


def retry(
    conditions: str, *, more: str = "", service: str = "spare", route: str = ""
) -> dict[str, Any]:
    conf = f"http: {{numRetries: {RETRIES}, retryOn: [{conditions}]{more}}}"
    return policy("MeshRetry", conf, service=service, route=route, name=route or "retry")


async def tries(bed: Bed, *, status: int = 200, drops: bool = False, method: str = "GET") -> int:
    """Return how often one call arrives at an application that fails in one way for ever."""
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.drops, app.behaviour.failures = status, drops, MANY
    before = app.total
    answer = await bed.call(service="spare", method=method)
    assert answer.status == (503 if drops else status)
    return app.total - before


async def in_turn(bed: Bed, count: int, **options: Any) -> Counter[str]:
    """Make ``count`` calls, never two at a time; count who answered, or else the status."""
    found = [await bed.call(**options) for _ in range(count)]
    return Counter(answer.instance or str(answer.status) for answer in found)


async def test_5xx_is_retried_and_no_other_status(bed: Bed) -> None:
    await bed.apply(retry("5XX"), NO_OUTLIERS)
    for status in (500, 501, 503):
        assert await tries(bed, status=status) == 1 + RETRIES
    for status in (404, 409, 429):
        assert await tries(bed, status=status) == 1


async def test_gateway_error_is_retried_and_no_other_5xx(bed: Bed) -> None:
    await bed.apply(retry("GatewayError"), NO_OUTLIERS)
    for status in (502, 503, 504):
        assert await tries(bed, status=status) == 1 + RETRIES
    for status in (500, 501, 404):
        assert await tries(bed, status=status) == 1


async def test_listed_statuses_are_retried_and_no_other(bed: Bed) -> None:
    await bed.apply(retry("418, 500"), NO_OUTLIERS)
    for status in (418, 500):
        assert await tries(bed, status=status) == 1 + RETRIES
    for status in (409, 429, 503):
        assert await tries(bed, status=status) == 1


async def test_a_conflict_is_retried_as_retriable_4xx(bed: Bed) -> None:
    await bed.apply(retry("Retriable4xx"), NO_OUTLIERS)
    assert await tries(bed, status=409) == 1 + RETRIES
    assert await tries(bed, status=404) == 1


async def test_a_reset_is_retried_where_it_is_listed(bed: Bed) -> None:
    await bed.apply(retry("Reset"), NO_OUTLIERS)
    assert await tries(bed, drops=True) == 1 + RETRIES
    assert await tries(bed, status=503) == 1
    await bed.apply(retry("GatewayError"))
    assert await tries(bed, drops=True) == 1 + RETRIES
    await bed.apply(retry("ConnectFailure, RefusedStream, ResetBeforeRequest"))
    assert await tries(bed, drops=True) == 1


async def test_a_connection_that_fails_is_tried_elsewhere(bed: Bed) -> None:
    closed = free_ports(1)[0]
    ports = (closed, bed.apps["spare-1"].port)
    endpoints = [{"address": HOST, "port": port} for port in ports]
    spec = {"match": {"protocol": "http"}, "endpoints": endpoints}
    breaker = policy(
        "MeshCircuitBreaker", "outlierDetection: {disabled: true}", service=OUTSIDE, name="breaker"
    )
    await bed.apply(
        {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec},
        retry("ConnectFailure", service=OUTSIDE),
        breaker,
    )
    assert await in_turn(bed, 20, service=OUTSIDE, method="POST") == {"spare-1": 20}
    await bed.apply(retry("5XX, HttpMethodGet", service=OUTSIDE))
    assert (await in_turn(bed, 20, service=OUTSIDE, method="POST"))["503"] > 0
    assert await in_turn(bed, 20, service=OUTSIDE) == {"spare-1": 20}


async def test_retries_by_method(bed: Bed) -> None:
    await bed.apply(retry("5XX, HttpMethodGet, HttpMethodPut"), NO_OUTLIERS)
    for method in ("GET", "PUT"):
        assert await tries(bed, status=500, method=method) == 1 + RETRIES
    for method in ("POST", "DELETE", "PATCH"):
        assert await tries(bed, status=500, method=method) == 1


async def test_a_retry_that_succeeds_ends_the_tries(bed: Bed) -> None:
    await bed.apply(retry("5XX"))
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.failures = 500, 1
    answer = await bed.call("/once", service="spare", method="POST", body=b"whole")
    assert (answer.status, app.seen) == (200, {"/once": 2})
    assert [each["body"] for each in app.requests] == ["whole", "whole"]


async def test_a_retry_goes_to_another_instance(bed: Bed) -> None:
    await bed.apply(
        policy("MeshRetry", "http: {numRetries: 1, retryOn: [500]}"),
        policy("MeshLoadBalancingStrategy", "loadBalancer: {type: RoundRobin}"),
    )
    bad = bed.apps["api-2"]
    bad.behaviour.status, bad.behaviour.failures = 500, MANY
    assert (await in_turn(bed, 20)).keys() == {"api-1", "api-3"}
    assert bad.total > 0


async def test_retries_of_one_route(bed: Bed) -> None:
    await bed.apply(http_route(SPECIAL, service="spare", name="special"))
    await bed.apply(retry("5XX", route="special"), NO_OUTLIERS)
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.failures = 500, MANY
    for path in ("/special", "/other"):
        assert (await bed.call(path, service="spare")).status == 500
    assert app.seen == {"/special": 1 + RETRIES, "/other": 1}


async def test_retries_wait_longer_each_time(bed: Bed) -> None:
    pause = ", backOff: {baseInterval: 200ms, maxInterval: 200ms}"
    await bed.apply(retry("5XX", more=pause), NO_OUTLIERS)
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.failures = 500, MANY
    # Each pause is random, up to the interval.
    found = [(await bed.call(service="spare")).seconds for _ in range(5)]
    assert max(found) > 0.1
    assert app.total == 5 * (1 + RETRIES)


async def test_retries_switched_off(bed: Bed) -> None:
    off = "http: {numRetries: 0, retryOn: [5XX, Reset]}"
    await bed.apply(policy("MeshRetry", off, service="spare"), NO_OUTLIERS)
    assert await tries(bed, status=503) == 1
    assert await tries(bed, drops=True) == 1


async def _failing_load(bed: Bed, calls: int) -> int:
    """Make so many calls at a time that all fail; return how many retries arrive."""
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.failures, app.behaviour.delay = 503, MANY, 0.4
    before = app.total
    answers = await asyncio.gather(*(bed.call(service="spare") for _ in range(calls)))
    assert {answer.status for answer in answers} == {503}
    return app.total - before - calls


async def test_a_retry_budget_bounds_the_retries_of_a_failing_load(bed: Bed) -> None:
    calls, percent, least = 40, 20, 2
    budget = "budget: {{percent: {}, minConcurrency: {}}}"
    conf = "http: {{numRetries: 1, retryOn: [5XX], {}}}"
    bounded = conf.format(budget.format(percent, least))
    await bed.apply(policy("MeshRetry", bounded, service="spare"), NO_OUTLIERS)
    assert 0 < await _failing_load(bed, calls) <= calls * percent / 100 + least
    ample = conf.format(budget.format(100, calls))
    await bed.apply(policy("MeshRetry", ample, service="spare"))
    assert await _failing_load(bed, calls) == calls


async def test_grpc_retries_by_status(bed: Bed) -> None:
    conf = "grpc: {numRetries: 3, retryOn: [Unavailable, ResourceExhausted]}"
    await bed.apply(policy("MeshRetry", conf, service="greeter"))
    greeters = [bed.apps["greeter-1"], bed.apps["greeter-2"]]
    for code, arrived in (
        (grpc.StatusCode.UNAVAILABLE, 4),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 4),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.NOT_FOUND, 1),
    ):
        for app in greeters:
            app.reset()
            app.behaviour.grpc_status, app.behaviour.failures = code, MANY
        assert await bed.rpc() == code.name
        assert sum(app.total for app in greeters) == arrived, code


async def test_a_grpc_retry_that_succeeds(bed: Bed) -> None:
    conf = "grpc: {numRetries: 2, retryOn: [Unavailable]}"
    await bed.apply(policy("MeshRetry", conf, service="greeter"))
    bad = bed.apps["greeter-1"]
    bad.behaviour.grpc_status, bad.behaviour.failures = grpc.StatusCode.UNAVAILABLE, MANY
    assert {await bed.rpc() for _ in range(8)} == {"greeter-2"}
    assert bad.total > 0
