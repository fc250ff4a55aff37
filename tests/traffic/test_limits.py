"""How much may be under way at a time: what goes beyond fails at once, at the caller."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.traffic.bed import Bed
from tests.traffic.documents import policy
from tests.traffic.services import CALLERS

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

CALLS = 12
DELAY = 0.3
OVERFLOW = "503 overflow"


async def rush(bed: Bed, *, calls: int = CALLS, caller: str = "web") -> Counter[str]:
    """Make so many calls to ``spare`` at a time; count the statuses, and why."""

    async def one() -> str:
        answer = await bed.call(service="spare", caller=caller)
        return f"{answer.status} overflow" if "overflow" in answer.text else str(answer.status)

    bed.apps["spare-1"].behaviour.delay = DELAY
    return Counter(await asyncio.gather(*(one() for _ in range(calls))))


def limits(conf: str) -> dict[str, Any]:
    return policy("MeshCircuitBreaker", f"connectionLimits: {{{conf}}}", service="spare")


async def test_requests_at_a_time_are_limited(bed: Bed) -> None:
    await bed.apply(limits("maxRequests: 3"))
    assert await rush(bed) == {"200": 3, OVERFLOW: CALLS - 3}
    assert bed.apps["spare-1"].busiest == bed.apps["spare-1"].total == 3


async def test_connections_are_limited_and_the_rest_waits(bed: Bed) -> None:
    await bed.apply(limits("maxConnections: 4"))
    assert await rush(bed) == {"200": CALLS}
    assert bed.apps["spare-1"].busiest == 4


async def test_waiting_requests_are_limited(bed: Bed) -> None:
    await bed.apply(limits("maxConnections: 2, maxPendingRequests: 5"))
    # Who waits for a connection to be made counts too: let there be two.
    assert await rush(bed, calls=2) == {"200": 2}
    assert await rush(bed) == {"200": 2 + 5, OVERFLOW: CALLS - 2 - 5}
    assert bed.apps["spare-1"].busiest == 2


async def test_limits_hold_per_caller(bed: Bed) -> None:
    await bed.apply(limits("maxRequests: 3"))
    found = await asyncio.gather(*(rush(bed, caller=caller) for caller in CALLERS))
    assert found == [{"200": 3, OVERFLOW: CALLS - 3}] * len(CALLERS)
    assert bed.apps["spare-1"].busiest == 3 * len(CALLERS)


async def test_a_limit_at_the_callee_holds_for_all_callers_together(bed: Bed) -> None:
    proxies = {"kind": "Dataplane", "labels": {"service": "spare"}}
    rule = {"default": {"connectionLimits": {"maxConnections": 3}}}
    spec = {"targetRef": proxies, "rules": [rule]}
    await bed.apply({"type": "MeshCircuitBreaker", "name": "at-spare", "spec": spec})
    found = await asyncio.gather(*(rush(bed, calls=6, caller=caller) for caller in CALLERS))
    statuses = found[0] + found[1]
    assert statuses["200"] == bed.apps["spare-1"].busiest == 3
    assert statuses["503"] == 12 - 3


async def test_retries_at_a_time_are_limited(bed: Bed) -> None:
    retry = policy("MeshRetry", "http: {numRetries: 1, retryOn: [5XX]}", service="spare")
    app = bed.apps["spare-1"]
    app.behaviour.status, app.behaviour.failures = 500, 1000
    for most in (0, 2):
        await bed.apply(retry, limits(f"maxRetries: {most}"))
        before = app.total
        assert await rush(bed) == {"500": CALLS}
        assert app.total - before == CALLS + most


async def test_a_connection_is_given_up_after_its_requests(bed: Bed) -> None:
    await bed.apply(limits("maxRequestsPerConnection: 2"))
    for _ in range(6):
        assert (await bed.call(service="spare")).status == 200
    assert len({each["peer"] for each in bed.apps["spare-1"].requests}) == 3
