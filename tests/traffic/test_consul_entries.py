"""What Consul's splitters and resolvers do to requests, and policies in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

CALLS = 400
SPARE = {"Service": "spare"}


async def with_versions(bed: Bed) -> None:
    """Give ``api`` the subsets v1 and v2."""
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)


async def test_splitter_by_weight(bed: Bed) -> None:
    await with_versions(bed)
    splits = [{"Weight": 80, "ServiceSubset": "v1"}, {"Weight": 20, **SPARE}]
    await bed.entry("service-splitter", "api", Splits=splits)
    found = await bed.tally(CALLS)
    assert set(found) == {"api-1", "api-2", "spare-1"}
    assert found.total() == CALLS
    assert within(found["spare-1"], CALLS, 0.2)


async def test_splitters_within_splitters(bed: Bed) -> None:
    await with_versions(bed)
    inner = [{"Weight": 40, "Service": "api", "ServiceSubset": "v2"}, {"Weight": 60}]
    outer = [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, **SPARE}]
    await bed.entry("service-splitter", "spare", Splits=inner)
    await bed.entry("service-splitter", "api", Splits=outer)
    found = await bed.tally(CALLS)
    assert within(found["api-1"] + found["api-2"], CALLS, 0.5)
    assert within(found["api-3"], CALLS, 0.2)
    assert within(found["spare-1"], CALLS, 0.3)
    assert found.total() == CALLS


async def test_splitter_edits_headers_of_each_split(bed: Bed) -> None:
    await with_versions(bed)

    def split(version: str) -> Mapping[str, Any]:
        return {
            "Weight": 50,
            "ServiceSubset": version,
            "RequestHeaders": {"Set": {"x-split": version}, "Remove": [f"x-no-{version}"]},
            "ResponseHeaders": {"Set": {"x-answered": version}},
        }

    await bed.entry("service-splitter", "api", Splits=[split("v1"), split("v2")])
    answers = [await bed.call(headers={"x-no-v1": "", "x-no-v2": ""}) for _ in range(40)]
    found = {
        (
            "v2" if answer.instance == "api-3" else "v1",
            answer.json["headers"]["x-split"],
            answer.headers["x-answered"],
            "x-no-v1" in answer.json["headers"],
            "x-no-v2" in answer.json["headers"],
        )
        for answer in answers
    }
    assert found == {("v1", "v1", "v1", False, True), ("v2", "v2", "v2", True, False)}


async def test_splitter_behind_a_router(bed: Bed) -> None:
    await with_versions(bed)
    route = {
        "Match": {"HTTP": {"PathPrefix": "/whole"}},
        "Destination": {"ServiceSubset": "v1"},
    }
    await bed.entry("service-router", "api", Routes=[route])
    splits = [{"Weight": 50, "ServiceSubset": "v2"}, {"Weight": 50, **SPARE}]
    await bed.entry("service-splitter", "api", Splits=splits)
    assert set(await bed.tally(40, "/whole")) == {"api-1", "api-2"}
    assert set(await bed.tally(40, "/rest")) == {"api-3", "spare-1"}


async def test_resolver_chooses_subsets_by_filter(bed: Bed) -> None:
    subsets = {
        "new": {"Filter": 'Service.Meta.version == "v2"'},
        "near": {"Filter": 'Service.Meta.version != "v2" and Service.ID matches "^api-1"'},
    }
    await bed.entry("service-resolver", "api", Subsets=subsets)
    routes = [
        {"Match": {"HTTP": {"PathPrefix": f"/{name}"}}, "Destination": {"ServiceSubset": name}}
        for name in subsets
    ]
    await bed.entry("service-router", "api", Routes=routes)
    assert await bed.tally(20, "/new") == {"api-3": 20}
    assert await bed.tally(20, "/near") == {"api-1": 20}


async def test_resolver_has_a_default_subset(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", DefaultSubset="v2", Subsets=SUBSETS)
    assert await bed.tally(20) == {"api-3": 20}
    await bed.entry("service-resolver", "api", DefaultSubset="v1", Subsets=SUBSETS)
    assert set(await bed.tally(40)) == {"api-1", "api-2"}


async def test_resolver_redirects_to_another_service(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", Redirect=SPARE)
    assert await bed.tally(20, "/all") == {"spare-1": 20}


@pytest.mark.alone
async def test_resolver_limits_the_time_of_a_request(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", RequestTimeout="150ms")
    for name in ("api-1", "api-2", "api-3"):
        bed.apps[name].behaviour.delay = 2
    answer = await bed.call("/slow")
    assert (answer.status, answer.seconds < 1.5) == (504, True)


async def test_failover_to_another_service_and_back(bed: Bed) -> None:
    await bed.entry("service-resolver", "spare", Failover={"*": {"Service": "api"}})
    spare = bed.apps["spare-1"]
    assert await bed.tally(20, service="spare") == {"spare-1": 20}

    async def answered_by(expected: set[str]) -> bool | None:
        return True if set(await bed.tally(20, service="spare")) == expected else None

    async with spare.away():
        await until(
            "calls turn to api", lambda: answered_by({"api-1", "api-2", "api-3"}), patience=20
        )
        assert set(await bed.tally(40, service="spare")) <= {"api-1", "api-2", "api-3"}
    await until("calls come back to spare", lambda: answered_by({"spare-1"}), patience=20)
    assert await bed.tally(20, service="spare") == {"spare-1": 20}


async def test_failover_of_a_subset_without_instances(bed: Bed) -> None:
    subsets = {**SUBSETS, "v3": {"Filter": "Service.Meta.version == v3"}}
    failover = {"v3": {"ServiceSubset": "v2"}}
    await bed.entry(
        "service-resolver", "api", DefaultSubset="v3", Subsets=subsets, Failover=failover
    )
    assert await bed.tally(20) == {"api-3": 20}


async def test_failover_through_several_services_in_order(bed: Bed) -> None:
    nobody = {"Filter": "Service.Meta.version == v3"}
    subsets = {**SUBSETS, "v3": nobody, "v4": nobody}
    targets = [{"ServiceSubset": "v4"}, SPARE, {"ServiceSubset": "v1"}]
    await bed.entry(
        "service-resolver",
        "api",
        DefaultSubset="v3",
        Subsets=subsets,
        Failover={"*": {"Targets": targets}},
    )
    assert await bed.tally(20) == {"spare-1": 20}


async def test_a_policy_goes_before_the_router_which_serves_the_rest(bed: Bed) -> None:
    await with_versions(bed)
    routes = [
        {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"ServiceSubset": "v1"}},
        {"Match": {"HTTP": {"PathPrefix": "/b"}}, "Destination": {"ServiceSubset": "v2"}},
    ]
    await bed.entry("service-router", "api", Routes=routes)
    await bed.apply(
        http_route("""
- matches: [{path: {type: PathPrefix, value: /a/policy}}]
  default: {backendRefs: [{kind: MeshService, name: spare}]}
""")
    )
    assert await bed.tally(20, "/a/policy") == {"spare-1": 20}
    assert set(await bed.tally(20, "/a/rest")) == {"api-1", "api-2"}
    assert await bed.tally(20, "/b") == {"api-3": 20}


async def test_a_policy_that_names_no_backend_keeps_the_splitter(bed: Bed) -> None:
    await with_versions(bed)
    splits = [{"Weight": 50, "ServiceSubset": "v2"}, {"Weight": 50, **SPARE}]
    await bed.entry("service-splitter", "api", Splits=splits)
    await bed.apply(
        http_route("""
- default:
    filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {set: [{name: x-policy, value: "yes"}]}
""")
    )
    answers = [await bed.call() for _ in range(40)]
    assert {answer.instance for answer in answers} == {"api-3", "spare-1"}
    assert {answer.json["headers"]["x-policy"] for answer in answers} == {"yes"}
