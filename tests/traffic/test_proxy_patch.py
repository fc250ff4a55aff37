"""The last resort: changes to what Envoy is sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import yaml

from mesh.demo.estate import HOST
from tests.traffic.bed import Bed
from tests.traffic.documents import WEB
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def patch(modifications: str, *, name: str = "patch") -> dict[str, Any]:
    """Return a MeshProxyPatch of ``modifications`` (YAML) for the proxies of ``web``."""
    default = {"appendModifications": yaml.safe_load(modifications)}
    return {"type": "MeshProxyPatch", "name": name, "spec": {"targetRef": WEB, "default": default}}


async def test_json_patch_of_a_cluster(bed: Bed) -> None:
    await bed.apply(
        patch("""
        - cluster:
            operation: Patch
            match: {name: spare}
            jsonPatches:
              - {op: replace, path: /circuitBreakers, value: {thresholds: [{maxRequests: 1}]}}
        """)
    )
    bed.apps["spare-1"].behaviour.delay = 0.2

    async def rush(caller: str) -> Counter[int]:
        answers = await asyncio.gather(
            *(bed.call(service="spare", caller=caller) for _ in range(5))
        )
        return Counter(answer.status for answer in answers)

    assert await rush("web") == {200: 1, 503: 4}
    assert await rush("admin") == {200: 5}


async def test_json_patch_of_a_route(bed: Bed) -> None:
    await bed.apply(
        patch("""
        - route:
            operation: Patch
            match: {name: api}
            jsonPatches:
              - op: add
                path: /virtualHosts/0/responseHeadersToAdd
                value: [{header: {key: x-patched, value: "yes"}}]
        """)
    )
    assert (await bed.call()).headers["x-patched"] == "yes"
    assert "x-patched" not in (await bed.call(service="spare")).headers
    assert "x-patched" not in (await bed.call(caller="admin")).headers


async def test_a_value_is_merged_into_a_cluster(bed: Bed) -> None:
    await bed.apply(
        patch("""
        - cluster: {operation: Patch, match: {name: api}, value: {connectTimeout: 0.123s}}
        """)
    )
    cluster = await bed.resource("web", "Cluster", "api")
    assert (cluster["connect_timeout"], cluster["type"]) == ("0.123s", "EDS")
    assert (await bed.call()).status == 200


async def test_adding_a_cluster_and_a_route_to_it(bed: Bed) -> None:
    place = {"socketAddress": {"address": HOST, "portValue": bed.apps["spare-1"].port}}
    endpoints = [{"lbEndpoints": [{"endpoint": {"address": place}}]}]
    cluster = {
        "name": "extra",
        "type": "STATIC",
        "connectTimeout": "1s",
        "loadAssignment": {"clusterName": "extra", "endpoints": endpoints},
    }
    route = {"match": {"prefix": "/extra"}, "route": {"cluster": "extra"}}
    edits = [{"op": "add", "path": "/virtualHosts/0/routes/0", "value": route}]
    modifications = [
        {"cluster": {"operation": "Add", "value": cluster}},
        {"route": {"operation": "Patch", "match": {"name": "api"}, "jsonPatches": edits}},
    ]
    await bed.apply(patch(yaml.safe_dump(modifications)))
    assert (await bed.call("/extra/thing")).instance == "spare-1"
    assert (await bed.call("/other")).instance.startswith("api-")


async def test_removing_a_cluster(bed: Bed) -> None:
    await bed.apply(patch("- cluster: {operation: Remove, match: {name: spare}}"))
    assert (await bed.call(service="spare")).status == 503
    assert (await bed.call(service="spare", caller="admin")).status == 200
    await bed.delete("MeshProxyPatch", "patch")
    assert (await bed.call(service="spare")).status == 200


async def test_what_envoy_refuses_is_shown_and_the_last_good_serves(bed: Bed) -> None:
    before = (await bed.resource("web", "Cluster", "api"))["connect_timeout"]
    await bed.apply(
        patch("- cluster: {operation: Patch, match: {name: api}, value: {connectTimeout: -1s}}"),
        settle=False,
    )

    async def refusal() -> dict[str, Any] | None:
        types = (await bed.proxies())["web/web-1"]["types"]
        return next((dict(each["nack"]) for each in types if each["nack"]), None)

    nack = await until("the refusal is shown", refusal)
    assert nack["resources"] == ["api"]
    assert "Expected positive duration" in nack["reason"]
    proxies = await bed.proxies()
    assert proxies["admin/admin-1"]["in_sync"]
    assert (await bed.tally(12)).keys() == {"api-1", "api-2", "api-3"}
    await bed.delete("MeshProxyPatch", "patch")
    assert (await bed.resource("web", "Cluster", "api"))["connect_timeout"] == before


async def test_a_patch_that_does_not_fit_changes_nothing_and_is_named(bed: Bed) -> None:
    await bed.apply(
        patch("""
        - cluster:
            operation: Patch
            match: {name: api}
            jsonPatches: [{op: remove, path: /nothing}]
        """)
    )
    assert (await bed.tally(12)).keys() == {"api-1", "api-2", "api-3"}
    (problem,) = [each for each in await bed.problems() if "MeshProxyPatch" in str(each)]
    assert "'api'" in str(problem)
    assert "/nothing" in str(problem)
    async with bed.down("api-2"):

        async def gone() -> bool | None:
            return (await bed.tally(12)).keys() == {"api-1", "api-3"} or None

        await until("api-2 is gone", gone)
    # It was left out for a while, and those who come next call it.
    await bed.renew()
