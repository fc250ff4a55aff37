"""Failures made on purpose at the callee."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.callee import always, rules, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshFaultInjection"
PATHS = ("/slow", "/quick")


@pytest.mark.parametrize("percentage", [0, 50, 100])
async def test_abort_with_a_percentage(bed: Bed, percentage: int) -> None:
    fault = f"{{http: {{abort: {{httpStatus: 418, percentage: {percentage}}}}}}}"
    await bed.apply(always(KIND, fault))
    found = await bed.tally(200, "/it")
    share = percentage / 100
    assert within(found["418"], 200, share) if 0 < share < 1 else found["418"] == 200 * share
    assert sum(app.seen["/it"] for app in bed.apps.values()) == 200 - found["418"]


async def test_abort_of_grpc_with_a_grpc_status(bed: Bed) -> None:
    aborted = """
    - matches: [{grpc: {service: demo.Greeter, method: Part}}]
      default: {http: {abort: {grpcStatus: 5, percentage: 100}}}
    """
    await bed.apply(rules(KIND, aborted, service="greeter"))
    assert await bed.rpc("Part") == "NOT_FOUND"
    assert (await bed.rpc("Greet")).startswith("greeter-")


async def test_abort_of_grpc_with_an_http_status(bed: Bed) -> None:
    fault = "{http: {abort: {httpStatus: 503, percentage: 100}}}"
    await bed.apply(always(KIND, fault, service="greeter"))
    assert await bed.rpc() == "UNAVAILABLE"


@pytest.mark.alone
@pytest.mark.parametrize("percentage", [0, 50, 100])
async def test_delay_with_a_percentage(bed: Bed, percentage: int) -> None:
    fault = f"{{http: {{delay: {{value: 800ms, percentage: {percentage}}}}}}}"
    await bed.apply(always(KIND, fault, service="spare"))
    answers = await asyncio.gather(*(bed.call(service="spare") for _ in range(40)))
    held = sum(answer.seconds >= 0.79 for answer in answers)
    share = percentage / 100
    assert within(held, 40, share) if 0 < share < 1 else held == 40 * share


async def test_fault_for_the_calls_of_one_service_only(bed: Bed) -> None:
    aborted = """
    - matches: [{source: {service: web}}]
      default: {http: {abort: {httpStatus: 418, percentage: 100}}}
    """
    await bed.apply(rules(KIND, aborted))
    assert await statuses(bed, 6, caller="web") == [418] * 6
    assert await statuses(bed, 6, caller="admin") == [200] * 6


async def test_fault_for_one_path_and_one_header_only(bed: Bed) -> None:
    aborted = """
    - matches:
        - path: {type: PathPrefix, value: /pay}
        - headers: [{name: x-game-day, value: "on"}]
      default: {http: {abort: {httpStatus: 418, percentage: 100}}}
    """
    await bed.apply(rules(KIND, aborted))
    assert await statuses(bed, 3, "/pay/now") == [418] * 3
    assert await statuses(bed, 3, "/other", headers={"x-game-day": "on"}) == [418] * 3
    assert await statuses(bed, 3, "/other", headers={"x-game-day": "off"}) == [200] * 3
    assert await statuses(bed, 3, "/payment") == [200] * 3


async def test_fault_at_some_instances_only(bed: Bed) -> None:
    fault = "{http: {abort: {httpStatus: 418, percentage: 100}}}"
    await bed.apply(always(KIND, fault, version="v2"))
    found = await bed.tally(60)
    assert found.keys() == {"api-1", "api-2", "418"}


async def test_delay_and_abort_together(bed: Bed) -> None:
    fault = """
    http:
      delay: {value: 300ms, percentage: 100}
      abort: {httpStatus: 503, percentage: 100}
    """
    await bed.apply(always(KIND, fault, service="spare"))
    answer = await bed.call(service="spare")
    assert answer.status == 503
    assert answer.seconds >= 0.29


async def test_response_bandwidth(bed: Bed) -> None:
    slowed = """
    - matches: [{path: {type: Exact, value: /slow}}]
      default: {http: {responseBandwidth: {limit: 1mbps, percentage: 100}}}
    """
    await bed.apply(rules(KIND, slowed, service="spare"))
    body = b"x" * 100_000
    answers = [await bed.call(path, service="spare", method="POST", body=body) for path in PATHS]
    assert [answer.json["body"] for answer in answers] == [body.decode()] * 2
    slow, quick = answers
    # 800 kbit at 1 Mbit/s.
    assert 0.6 < slow.seconds < 5
    assert quick.seconds < slow.seconds


async def test_a_policy_that_is_gone_injects_nothing(bed: Bed) -> None:
    fault = "{http: {abort: {httpStatus: 418, percentage: 100}}}"
    await bed.apply(always(KIND, fault, name="game-day"))
    assert await statuses(bed, 3) == [418] * 3
    await bed.delete(KIND, "game-day")
    await bed.renew()
    assert Counter(await statuses(bed, 10)) == {200: 10}
