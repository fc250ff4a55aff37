"""What Consul's routers (``service-router``) do to requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.traffic.answers import all_served_by, served_by, values
from tests.traffic.bed import Bed
from tests.traffic.services import SUBSETS

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SPARE = {"Service": "spare"}


async def with_versions(bed: Bed) -> None:
    """Give ``api`` the subsets v1 and v2."""
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)


async def routed(
    bed: Bed, match: Mapping[str, Any], destination: Mapping[str, Any] = SPARE
) -> None:
    """Send what ``match`` matches of the calls to ``api`` to ``destination``."""
    route = {"Match": {"HTTP": match}, "Destination": destination}
    await bed.entry("service-router", "api", Routes=[route])


async def test_router_by_exact_path(bed: Bed) -> None:
    await routed(bed, {"PathExact": "/a"})
    assert await all_served_by(bed, "/a", "/a?q=1") == {"spare"}
    assert await all_served_by(bed, "/a/", "/ab", "/A", "/") == {"api"}


async def test_router_by_path_prefix_of_any_characters(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/a"})
    assert await all_served_by(bed, "/a", "/a/b", "/ab") == {"spare"}
    assert await all_served_by(bed, "/", "/x/a") == {"api"}


async def test_router_by_path_regex(bed: Bed) -> None:
    await routed(bed, {"PathRegex": "/users/[0-9]+"})
    assert await all_served_by(bed, "/users/7", "/users/42?q=1") == {"spare"}
    assert await all_served_by(bed, "/users/me", "/users/7/x") == {"api"}


async def test_router_by_path_in_any_letter_case(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/Shop", "CaseInsensitive": True})
    assert await all_served_by(bed, "/shop/a", "/SHOP") == {"spare"}


@pytest.mark.parametrize(
    ("condition", "hits", "misses"),
    [
        ({"Exact": "anna"}, ["anna"], ["annabel", None]),
        ({"Prefix": "ann"}, ["anna", "ann"], ["hanna", None]),
        ({"Suffix": "na"}, ["anna", "na"], ["nab", None]),
        ({"Regex": "a+b?"}, ["a", "aab"], ["abb", None]),
        ({"Present": True}, ["anna", "-"], [None]),
        ({"Present": True, "Invert": True}, [None], ["anna"]),
        ({"Exact": "anna", "Invert": True}, ["bert"], ["anna"]),
    ],
    ids=["exact", "prefix", "suffix", "regex", "present", "absent", "not exact"],
)
async def test_router_by_header(
    bed: Bed, condition: Mapping[str, Any], hits: list[str | None], misses: list[str | None]
) -> None:
    await routed(bed, {"Header": [{"Name": "X-User", **condition}]})

    async def by(value: str | None) -> str:
        return await served_by(bed, headers={} if value is None else {"x-user": value})

    assert {await by(value) for value in hits} == {"spare"}
    assert {await by(value) for value in misses} == {"api"}


@pytest.mark.parametrize(
    ("condition", "hit", "miss"),
    [
        ({"Exact": "2"}, "/?v=2", "/?v=21"),
        ({"Regex": "[0-9]+"}, "/?x=y&v=42", "/?v=4x"),
        ({"Present": True}, "/?v=", "/?w=1"),
    ],
    ids=["exact", "regex", "present"],
)
async def test_router_by_query_parameter(
    bed: Bed, condition: Mapping[str, Any], hit: str, miss: str
) -> None:
    await routed(bed, {"QueryParam": [{"Name": "v", **condition}]})
    assert await served_by(bed, hit) == "spare"
    assert await all_served_by(bed, miss, "/") == {"api"}


async def test_router_by_methods(bed: Bed) -> None:
    await routed(bed, {"Methods": ["PUT", "DELETE"]})
    found = {
        method: await served_by(bed, method=method) for method in ("PUT", "DELETE", "GET", "POST")
    }
    assert found == {"PUT": "spare", "DELETE": "spare", "GET": "api", "POST": "api"}


async def test_router_takes_the_first_route_that_matches(bed: Bed) -> None:
    await with_versions(bed)
    routes = [
        {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"ServiceSubset": "v2"}},
        {"Match": {"HTTP": {"PathExact": "/a/b"}}, "Destination": SPARE},
        {"Match": {"HTTP": {"PathPrefix": "/b"}}, "Destination": SPARE},
    ]
    await bed.entry("service-router", "api", Routes=routes)
    assert await bed.tally(10, "/a/b") == {"api-3": 10}
    assert await bed.tally(10, "/b") == {"spare-1": 10}
    assert set(await bed.tally(60, "/c")) == {"api-1", "api-2", "api-3"}


async def test_router_to_a_subset(bed: Bed) -> None:
    await with_versions(bed)
    await routed(bed, {"PathPrefix": "/v1"}, {"ServiceSubset": "v1"})
    assert set(await bed.tally(30, "/v1")) == {"api-1", "api-2"}


async def test_router_rewrites_the_prefix(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/old/"}, {**SPARE, "PrefixRewrite": "/new/"})
    assert (await bed.call("/old/a/b?q=1")).json["path"] == "/new/a/b?q=1"
    assert (await bed.call("/older")).json["path"] == "/older"


async def test_router_rewrites_an_exact_path(bed: Bed) -> None:
    await routed(bed, {"PathExact": "/old"}, {**SPARE, "PrefixRewrite": "/new"})
    assert (await bed.call("/old?q=1")).json["path"] == "/new?q=1"


@pytest.mark.alone
async def test_router_limits_the_time_of_a_request(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/slow"}, {**SPARE, "RequestTimeout": "150ms"})
    bed.apps["spare-1"].behaviour.delay = 2
    answer = await bed.call("/slow")
    assert answer.status == 504
    assert 0.14 <= answer.seconds < 1.5
    bed.apps["spare-1"].behaviour.delay = 0
    assert (await bed.call("/", service="spare")).status == 200


async def test_router_tries_again_on_statuses(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/"}, {**SPARE, "NumRetries": 2, "RetryOnStatusCodes": [409]})
    spare = bed.apps["spare-1"]
    spare.behaviour.status, spare.behaviour.failures = 409, 2
    assert (await bed.call("/twice")).status == 200
    assert spare.seen["/twice"] == 3
    spare.behaviour.failures = 3
    assert (await bed.call("/often")).status == 409
    assert spare.seen["/often"] == 3
    spare.behaviour.status, spare.behaviour.failures = 410, 1
    assert (await bed.call("/other")).status == 410
    assert spare.seen["/other"] == 1


async def test_router_tries_again_on_conditions(bed: Bed) -> None:
    await routed(bed, {"PathPrefix": "/"}, {**SPARE, "NumRetries": 1, "RetryOn": ["5xx"]})
    spare = bed.apps["spare-1"]
    spare.behaviour.status, spare.behaviour.failures = 500, 1
    assert (await bed.call("/once")).status == 200
    assert spare.seen["/once"] == 2


async def test_router_edits_headers(bed: Bed) -> None:
    edits = {
        "RequestHeaders": {"Add": {"x-a": "2"}, "Set": {"x-s": "2"}, "Remove": ["x-r"]},
        "ResponseHeaders": {"Add": {"x-b": "2"}, "Set": {"x-t": "2"}, "Remove": ["x-q"]},
    }
    await routed(bed, {"PathPrefix": "/edited"}, {**SPARE, **edits})
    bed.apps["spare-1"].behaviour.headers = {"x-b": "1", "x-t": "1", "x-q": "1"}
    answer = await bed.call("/edited", headers={"x-a": "1", "x-s": "1", "x-r": "1"})
    seen = answer.json["headers"]
    assert {name: seen.get(name) for name in ("x-a", "x-s", "x-r")} == {
        "x-a": "1, 2",
        "x-s": "2",
        "x-r": None,
    }
    assert [values(answer, name) for name in ("x-b", "x-t", "x-q")] == [["1", "2"], ["2"], []]
