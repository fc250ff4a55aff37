"""What a dry run and an explanation say, held against what then happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.policies.document import DEFAULT_MESH, parse
from mesh.policies.registry import KINDS
from tests.traffic.bed import Bed
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

BY_PATH = """
type: MeshHTTPRoute
name: dry-by-path
spec:
  targetRef: {kind: Dataplane, labels: {service: web}}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /new}}]
          default:
            backendRefs: [{kind: MeshService, name: spare}]
"""
SLOW = """
type: MeshTimeout
name: dry-slow
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      default: {connectionTimeout: 3s, http: {requestTimeout: 7s}}
"""
FAULT = """
type: MeshFaultInjection
name: dry-fault
spec:
  targetRef: {kind: Dataplane, labels: {service: spare}}
  rules:
    - default: {http: {abort: {httpStatus: 503, percentage: 1}}}
"""
PATCH = """
type: MeshProxyPatch
name: dry-patch
spec:
  targetRef: {kind: Dataplane, labels: {service: web}}
  default:
    appendModifications:
      - cluster:
          operation: Patch
          match: {name: api}
          jsonPatches: [{op: replace, path: /connectTimeout, value: %s}]
"""


def predicted(answer: Mapping[str, Any]) -> dict[str, dict[tuple[str, str], str]]:
    """Return by proxy what becomes of each resource."""
    return {
        proxy["id"]: {
            (each["type"], name): word
            for each in proxy["resources"]
            for word in ("added", "changed", "removed")
            for name in each[word]
        }
        for proxy in answer["proxies"]
    }


def observed(
    before: Mapping[str, Mapping[tuple[str, str], str]],
    after: Mapping[str, Mapping[tuple[str, str], str]],
) -> dict[str, dict[tuple[str, str], str]]:
    """Return the same, of two configurations."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for proxy, had in before.items():
        has = after[proxy]
        for key in had.keys() | has.keys():
            if had.get(key) != has.get(key):
                word = "added" if key not in had else "changed" if key in has else "removed"
                found.setdefault(proxy, {})[key] = word
    return found


@asynccontextmanager
async def applied(bed: Bed, *documents: str) -> AsyncIterator[None]:
    """Let exactly ``documents`` stand for the block: no mark beside them."""
    store = Policies(bed.consul)
    read = [parse(yaml.safe_load(document), KINDS) for document in documents]
    await store.commit(puts(await store.read(DEFAULT_MESH), [one.raw for one in read]))
    try:
        yield
    finally:
        keys = [Key(one.mesh, one.kind, one.name) for one in read]
        await store.commit(deletions(await store.read(DEFAULT_MESH), keys))
        await bed.apply()


@pytest.mark.parametrize(
    "documents", [(BY_PATH,), (SLOW,), (FAULT,), (PATCH % "7s",), (BY_PATH, SLOW, PATCH % "6s")]
)
async def test_a_dry_run_tells_which_resources_of_which_proxies_change(
    bed: Bed, documents: tuple[str, ...]
) -> None:
    answer = await bed.dry_run(*documents)
    assert answer["violations"] == answer["rejected"] == []
    assert answer["envoy"]["unchecked"] == 0
    assert answer["envoy"]["checked"] > 0
    before = await bed.configuration()
    async with applied(bed, *documents):

        async def happened() -> dict[str, dict[tuple[str, str], str]] | None:
            # Policies are one piece of news: where some of it shows, all of it does.
            return observed(before, await bed.configuration()) or None

        assert await until("something changes", happened) == predicted(answer)
        await bed.in_sync()


async def test_a_dry_run_of_a_deletion_tells_it_too(bed: Bed) -> None:
    await bed.apply(SLOW)
    answer = await bed.dry_run(delete=[("MeshTimeout", "dry-slow")])
    before = await bed.configuration()
    await bed.delete("MeshTimeout", "dry-slow")
    # The mark changed beside it, which is a route to the same service.
    assert observed(before, await bed.configuration()) == predicted(answer)


async def test_a_dry_run_tells_which_calls_would_travel_otherwise(bed: Bed) -> None:
    (call,) = (await bed.dry_run(BY_PATH))["calls"]
    assert (call["caller"], call["service"], call["proxies"]) == ("web", "api", ["web/web-1"])
    assert call["change"] == ["targets"]
    assert (call["before"]["targets"], call["after"]["targets"]) == (["api"], ["api", "spare"])
    nobody = BY_PATH.replace("name: spare", "name: store")
    answer = await bed.dry_run(nobody)
    assert "speaks tcp" in answer["violations"][0]["message"]
    assert answer["proxies"] == []


async def test_a_patch_that_envoy_would_refuse_is_not_applied(bed: Bed, tmp_path: Path) -> None:
    file = tmp_path / "patch.yaml"
    file.write_text(PATCH % "-1s")
    code, output, _ = await bed.estate.mesh_result(
        ["apply", "-f", str(file), "--dry-run", "-o", "json"]
    )
    found = json.loads(output)
    assert (code, found["refused"]) == (1, True)
    (rejection,) = found["rejected"]
    assert [each["name"] for each in rejection["resources"]] == ["api"]
    code, _, errors = await bed.estate.mesh_result(["apply", "-f", str(file)])
    assert code == 2
    assert "Cluster api of web/web-1" in errors
    listed = json.loads(await bed.estate.mesh(["get", "-o", "json"]))
    assert "dry-patch" not in [each["name"] for each in listed]
    file.write_text(PATCH % "4s")
    try:
        assert "created" in await bed.estate.mesh(["apply", "-f", str(file)])
    finally:
        await bed.delete("MeshProxyPatch", "dry-patch")


async def test_explain_names_the_route_and_the_instances_that_answer(bed: Bed) -> None:
    await bed.apply(BY_PATH)
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)
    routes = [
        {
            "Match": {"HTTP": {"PathPrefix": "/two"}},
            "Destination": {"Service": "api", "ServiceSubset": "v2"},
        },
        {
            "Match": {"HTTP": {"Header": [{"Name": "x-version", "Exact": "1"}]}},
            "Destination": {"Service": "api", "ServiceSubset": "v1", "PrefixRewrite": ""},
        },
    ]
    await bed.entry("service-router", "api", Routes=routes)
    cases = [
        ("/new/x", "web", {}, "spare"),
        ("/new/x", "admin", {}, "api"),
        ("/newer", "web", {}, "api"),
        ("/two", "web", {}, "v2.api"),
        ("/else?q=1", "admin", {"x-version": "1"}, "v1.api"),
    ]
    for path, caller, headers, target in cases:
        found = await bed.explain(path, caller=caller, method="GET", headers=headers.items())
        assert found["allowed"] is True
        (end,) = found["way"]["targets"]
        assert end["target"] == target, path
        used = {each["id"] for each in end["endpoints"] if each["standing"] == "used"}
        answered = set(await bed.tally(24, path, caller=caller, headers=headers))
        assert answered == used, path


async def test_explain_tells_who_said_each_thing(bed: Bed) -> None:
    await bed.apply(SLOW, FAULT)
    way = (await bed.explain())["way"]
    assert way["route"]["timeouts"]["request"] == 7
    assert way["route"]["origins"]["MeshTimeout.http.requestTimeout"] == "MeshTimeout dry-slow"
    (end,) = way["targets"]
    assert end["settings"]["connect_timeout"] == 3
    (callee,) = (await bed.explain(service="spare"))["way"]["targets"][0]["callee"]
    assert callee["proxies"] == ["spare-1"]
    text = await bed.estate.mesh(["explain", "web", "api", "--path", "/x"])
    assert "request 7 s  (MeshTimeout dry-slow)" in text
