"""Limits that each proxy keeps for itself: of requests, and of connections."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.traffic.bed import Bed
from tests.traffic.callee import always, answered, at, rules, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshRateLimit"


async def test_local_rate_limit_for_a_route(bed: Bed) -> None:
    limited = """
    - matches: [{path: {type: PathPrefix, value: /search}, method: GET}]
      default: {local: {http: {requestRate: {num: 2, interval: 1h}}}}
    """
    await bed.apply(rules(KIND, limited, service="spare"))
    assert await statuses(bed, 4, "/search/it", service="spare") == [200, 200, 429, 429]
    assert await statuses(bed, 3, "/other", service="spare") == [200] * 3
    assert await statuses(bed, 3, "/search", service="spare", method="POST") == [200] * 3


async def test_local_rate_limit_of_each_caller(bed: Bed) -> None:
    limit = "{local: {http: {requestRate: {num: 3, interval: 1h}, perCaller: true}}}"
    await bed.apply(always(KIND, limit, service="spare"))
    assert await statuses(bed, 5, service="spare", caller="web") == [200] * 3 + [429] * 2
    assert await statuses(bed, 4, service="spare", caller="admin") == [200] * 3 + [429]


async def test_local_rate_limit_for_one_caller_only(bed: Bed) -> None:
    limited = """
    - matches: [{source: {service: web}}]
      default: {local: {http: {requestRate: {num: 1, interval: 1h}}}}
    """
    await bed.apply(rules(KIND, limited, service="spare"))
    assert await statuses(bed, 3, service="spare", caller="web") == [200, 429, 429]
    assert await statuses(bed, 5, service="spare", caller="admin") == [200] * 5


async def test_local_rate_limit_with_a_burst_and_an_answer_of_its_own(bed: Bed) -> None:
    limit = """
    local:
      http:
        requestRate: {num: 2, interval: 1h}
        burst: 4
        onRateLimit:
          status: 503
          headers:
            set: [{name: retry-after, value: "3600"}]
            add: [{name: x-limit, value: spare}]
    """
    await bed.apply(always(KIND, limit, service="spare"))
    assert await statuses(bed, 4, service="spare") == [200] * 4
    refused = await bed.call(service="spare")
    assert refused.status == 503
    assert refused.headers["retry-after"] == "3600"
    assert refused.headers["x-limit"] == "spare"


@pytest.mark.alone
async def test_local_rate_limit_fills_up_again(bed: Bed) -> None:
    limit = "{local: {http: {requestRate: {num: 1, interval: 300ms}}}}"
    await bed.apply(always(KIND, limit, service="spare"))
    await answered(bed, 429, service="spare")
    await answered(bed, 200, service="spare")
    await answered(bed, 429, service="spare")


async def test_local_rate_limit_holds_within_each_proxy(bed: Bed) -> None:
    limit = "{local: {http: {requestRate: {num: 3, interval: 1h}}}}"
    await bed.apply(rules(KIND, at("/it", limit)))
    found = await bed.tally(60, "/it")
    assert found == {"api-1": 3, "api-2": 3, "api-3": 3, "429": 51}


async def test_local_rate_limit_for_some_proxies_of_a_service(bed: Bed) -> None:
    limit = "{local: {http: {requestRate: {num: 1, interval: 1h}}}}"
    await bed.apply(rules(KIND, at("/it", limit), version="v2"))
    found = await bed.tally(60, "/it")
    assert found["api-3"] == 1
    assert found["api-1"] + found["api-2"] + found["429"] == 59
    assert min(found["api-1"], found["api-2"], found["429"]) > 1


async def test_local_rate_limit_of_a_grpc_method(bed: Bed) -> None:
    limited = """
    - matches: [{grpc: {service: demo.Greeter, method: Greet}}]
      default: {local: {http: {requestRate: {num: 1, interval: 1h}}}}
    """
    await bed.apply(rules(KIND, limited, service="greeter"))
    found = Counter([await bed.rpc() for _ in range(20)])
    assert found == {"greeter-1": 1, "greeter-2": 1, "RESOURCE_EXHAUSTED": 18}
    assert (await bed.rpc("Part")).startswith("greeter-")


async def test_all_matches_of_a_rule_draw_from_one_bucket(bed: Bed) -> None:
    limited = """
    - matches: [{path: {type: Exact, value: /a}}, {path: {type: Exact, value: /b}}]
      default: {local: {http: {requestRate: {num: 3, interval: 1h}}}}
    - matches: [{path: {type: Exact, value: /c}}]
      default: {local: {http: {requestRate: {num: 3, interval: 1h}}}}
    """
    # Another kind's rules split the routes once more.
    timeouts = """
    - matches: [{method: GET}]
      default: {http: {requestTimeout: 9s}}
    """
    await bed.apply(
        rules(KIND, limited, service="spare"), rules("MeshTimeout", timeouts, service="spare")
    )
    assert await statuses(bed, 2, "/a", service="spare") == [200] * 2
    assert await statuses(bed, 1, "/b", service="spare", method="POST") == [200]
    assert await statuses(bed, 1, "/a", service="spare", method="POST") == [429]
    assert await statuses(bed, 1, "/b", service="spare") == [429]
    assert await statuses(bed, 4, "/c", service="spare") == [200] * 3 + [429]


async def test_a_bucket_outlives_a_change_of_routes(bed: Bed) -> None:
    limit = "{local: {http: {requestRate: {num: 2, interval: 1h}, perCaller: true}}}"

    def timeout(path: str) -> str:
        return f"""
        - matches: [{{path: {{type: Exact, value: {path}}}}}]
          default: {{http: {{requestTimeout: 9s}}}}
        """

    await bed.apply(
        always(KIND, limit, service="spare"),
        rules("MeshTimeout", timeout("/a"), service="spare"),
    )
    assert await statuses(bed, 3, service="spare") == [200, 200, 429]
    await bed.apply(rules("MeshTimeout", timeout("/b"), service="spare"))
    assert await statuses(bed, 1, service="spare") == [429]
    assert await statuses(bed, 3, "/b", service="spare", caller="admin") == [200, 200, 429]


async def test_connection_rate_limit(bed: Bed) -> None:
    limit = "{local: {tcp: {connectionRate: {num: 2, interval: 1h}}}}"
    await bed.apply(always(KIND, limit, service="store"))
    found = Counter([await bed.dial() for _ in range(30)])
    assert found == {"store-1": 2, "store-2": 2, "": 26}
