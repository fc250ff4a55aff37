"""Limits over all proxies of a service together, counted by ``mesh ratelimit``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ratelimit.asking import Redis
from tests.traffic.bed import Bed
from tests.traffic.callee import Limiter, answered, asking, at, rules, statuses

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("limiter"),
]

KIND = "MeshRateLimit"


def limit(requests: int, more: str = "") -> str:
    """Return what limits requests per day (YAML); the service may take its time."""
    how = f"requests: {requests}, unit: Day, timeout: 9s{more}"
    return f"{{global: {{service: ratelimit, {how}}}}}"


async def test_global_limit_over_all_proxies_together(bed: Bed) -> None:
    await asking(bed, "ratelimit", rules(KIND, at("/it", limit(20)), name="together"))
    found = await bed.tally(60, "/it")
    assert found.pop("429") == 40
    assert found.total() == 20
    assert len(found) == 3
    # Callers share it.
    assert await statuses(bed, 3, "/it", caller="admin") == [429] * 3


async def test_global_limit_tells_the_caller_what_is_left(bed: Bed) -> None:
    await asking(bed, "ratelimit", rules(KIND, at("/it", limit(2)), name="told"))
    answer = await bed.call("/it")
    assert answer.headers["ratelimit-limit"] == "2, 2;w=86400"
    assert answer.headers["ratelimit-remaining"] == "1"
    await bed.call("/it")
    refused = await bed.call("/it")
    assert refused.status == 429
    assert refused.headers["ratelimit-remaining"] == "0"


async def test_global_limit_by_a_header(bed: Bed) -> None:
    await asking(
        bed,
        "ratelimit",
        rules(KIND, at("/it", limit(2, ", by: [{header: x-user}]")), name="by-user"),
    )
    for user in ("ann", "bob"):
        assert await statuses(bed, 3, "/it", headers={"x-user": user}) == [200, 200, 429]
    # Those who leave it out count together.
    assert await statuses(bed, 3, "/it") == [200, 200, 429]


async def test_global_limit_by_caller(bed: Bed) -> None:
    await asking(
        bed,
        "ratelimit",
        rules(KIND, at("/it", limit(4, ", by: [{caller: true}]")), name="by-caller"),
    )
    assert await statuses(bed, 6, "/it", caller="web") == [200] * 4 + [429] * 2
    assert await statuses(bed, 5, "/it", caller="admin") == [200] * 4 + [429]


async def test_global_limit_by_path_and_header_together(bed: Bed) -> None:
    by = ", by: [{path: true}, {header: x-user}]"
    await asking(bed, "ratelimit", rules(KIND, at("/it", limit(1, by)), name="by-both"))
    for path in ("/it/a", "/it/b?x=1"):
        for user in ("ann", "bob"):
            assert await statuses(bed, 2, path, headers={"x-user": user}) == [200, 429]
    assert await statuses(bed, 1, "/it/b?x=2", headers={"x-user": "ann"}) == [429]


async def test_global_limit_for_a_route_only(bed: Bed) -> None:
    limited = f"""
    - matches: [{{path: {{type: PathPrefix, value: /search}}, source: {{service: web}}}}]
      default: {limit(1)}
    """
    await asking(bed, "ratelimit", rules(KIND, limited, name="search"))
    assert await statuses(bed, 3, "/search") == [200, 429, 429]
    assert await statuses(bed, 3, "/search", caller="admin") == [200] * 3
    assert await statuses(bed, 3, "/other") == [200] * 3


async def test_global_limits_of_one_name_share_their_counters(bed: Bed) -> None:
    limited = f"""
    - matches: [{{path: {{type: Exact, value: /a}}}}]
      default: {limit(3, ", name: shared")}
    - matches: [{{path: {{type: Exact, value: /b}}}}]
      default: {limit(3, ", name: shared")}
    """
    await asking(bed, "ratelimit", rules(KIND, limited, name="sharing"))
    assert await statuses(bed, 2, "/a") == [200, 200]
    assert await statuses(bed, 2, "/b") == [200, 429]


async def test_local_and_global_limit_of_one_rule_both_hold(bed: Bed) -> None:
    local = "http: {requestRate: {num: 2, interval: 1h}, perCaller: true}"
    both = f"{{local: {{{local}}}, {limit(8)[1:]}"
    await asking(bed, "ratelimit", rules(KIND, at("/it", both), name="both"))
    # The local limit is met first, so the global one has something left for another caller.
    web = await bed.tally(40, "/it", caller="web")
    admin = await bed.tally(40, "/it", caller="admin")
    assert (web.total() - web["429"], admin.total() - admin["429"]) == (6, 2)


OPEN_AND_CLOSED = f"""
- matches: [{{path: {{type: PathPrefix, value: /open}}}}]
  default: {limit(1, ", failureMode: Open")}
- matches: [{{path: {{type: PathPrefix, value: /closed}}}}]
  default: {limit(1, ", failureMode: Closed")}
- matches: [{{path: {{type: PathPrefix, value: /unsaid}}}}]
  default: {limit(1)}
"""


async def test_without_the_rate_limit_service_open_passes_and_closed_answers_503(
    bed: Bed, limiter: Limiter
) -> None:
    await asking(bed, "ratelimit", rules(KIND, OPEN_AND_CLOSED, name="gone"))
    assert await statuses(bed, 2, "/open") == [200, 429]
    await limiter.end()
    try:
        assert await statuses(bed, 4, "/open") == [200] * 4
        assert await statuses(bed, 4, "/closed") == [503] * 4
        assert await statuses(bed, 2, "/unsaid") == [503] * 2
    finally:
        await limiter.run()
    await answered(bed, 200, "/closed")
    await answered(bed, 429, "/open")


async def test_global_limit_in_redis_and_what_holds_without_it(
    bed: Bed, limiter: Limiter, tmp_path: Path
) -> None:
    redis = Redis(tmp_path)
    counting = {"url": redis.url, "timeout": "5s"}
    ten = f"- {{matches: [{{path: {{type: Exact, value: /ten}}}}], default: {limit(10)}}}"
    await redis.start()
    try:
        await limiter.run(redis=counting)
        await asking(bed, "ratelimit", rules(KIND, ten + OPEN_AND_CLOSED, name="redis"))
        await answered(bed, 200, "/closed")
        found = await bed.tally(30, "/ten")
        assert found.pop("429") == 20
        assert found.total() == 10
        # Whoever comes after finds the counters as they were.
        await limiter.run(redis=counting)
        await answered(bed, 429, "/closed")
        assert await statuses(bed, 2, "/ten") == [429] * 2
        await redis.kill()
        assert await statuses(bed, 4, "/open") == [200] * 4
        assert await statuses(bed, 4, "/closed") == [503] * 4
    finally:
        await redis.kill()
        await limiter.run()
