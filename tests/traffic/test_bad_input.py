"""What Consul or its store holds and the mesh cannot use: the last good routing stands.

The zone names what is wrong, and once it is mended that takes effect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

API = {"api-1", "api-2", "api-3"}
STANDING = "calls go on as they last could be routed"


@asynccontextmanager
async def written(bed: Bed, *entries: Mapping[str, Any]) -> AsyncIterator[None]:
    """Write ``entries``, waiting for nobody; without them again after the block."""
    try:
        for entry in entries:
            assert await bed.consul.config_put(entry)
        yield
    finally:
        for entry in reversed(entries):
            await bed.consul.config_delete(entry["Kind"], entry["Name"])


async def named(bed: Bed, *words: str) -> Mapping[str, Any]:
    """Wait until one of the zone's problems has all of ``words``, and return it."""

    async def ask() -> Mapping[str, Any] | None:
        problems = await bed.problems()
        return next((one for one in problems if _says(one, words)), None)

    return await until(f"a problem says {', '.join(words)}", ask)


async def no_problem(bed: Bed) -> None:
    """Wait until the zone has none."""

    async def ask() -> bool | None:
        return None if await bed.problems() else True

    await until("there is no problem any more", ask)


async def served(bed: Bed, path: str, expected: Iterable[str], **options: Any) -> None:
    """Wait until calls for ``path`` are answered by ``expected`` only."""

    async def ask() -> bool | None:
        return True if set(await bed.tally(20, path, **options)) <= set(expected) else None

    await until(f"{path} is answered by {', '.join(expected)}", ask)


def _says(problem: Mapping[str, Any], words: Iterable[str]) -> bool:
    text = f"{problem['kind']} {problem['name']}: {problem['message']}"
    return all(word in text for word in words)


async def test_a_loop_of_redirects_leaves_the_last_good_routing(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", DefaultSubset="v2", Subsets=SUBSETS)
    assert await bed.tally(10) == {"api-3": 10}
    away = {"Kind": "service-resolver", "Name": "spare", "Redirect": {"Service": "api"}}
    back = {"Kind": "service-resolver", "Name": "api", "Redirect": {"Service": "spare"}}
    async with written(bed, away):
        await served(bed, "/", {"api-3"}, service="spare")
        async with written(bed, back):
            problem = await named(bed, "service-resolver", "api", "spare", "loop")
            assert STANDING in problem["message"]
            assert await bed.tally(20) == {"api-3": 20}
            assert await bed.tally(20, service="spare") == {"api-3": 20}
            # Mended at the other end: the redirect that made the loop is good now.
            await bed.consul.config_delete("service-resolver", "spare")
            await served(bed, "/", {"spare-1"})
            await no_problem(bed)
            assert await bed.tally(20, service="spare") == {"spare-1": 20}


async def test_a_router_to_a_missing_subset_leaves_the_last_good_routing(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)
    to = {"Match": {"HTTP": {"PathPrefix": "/new"}}, "Destination": {"ServiceSubset": "v1"}}
    await bed.entry("service-router", "api", Routes=[to])
    assert set(await bed.tally(20, "/new")) == {"api-1", "api-2"}
    missing = {**to, "Destination": {"ServiceSubset": "v9"}}
    await bed.entry("service-router", "api", Routes=[missing])
    problem = await named(bed, "service-router api", "Routes[0]", "v9")
    assert STANDING in problem["message"]
    assert set(await bed.tally(20, "/new")) == {"api-1", "api-2"}
    assert set(await bed.tally(40, "/rest")) <= API
    # Mended by the subset that was missing.
    late = {"v9": {"Filter": "Service.Meta.version == v2"}}
    await bed.entry("service-resolver", "api", Subsets={**SUBSETS, **late})
    assert await bed.tally(20, "/new") == {"api-3": 20}
    await no_problem(bed)


async def test_an_entry_that_cannot_be_read_leaves_its_last_good_version(bed: Bed) -> None:
    def to_spare(**match: Any) -> list[Mapping[str, Any]]:
        return [{"Match": {"HTTP": match}, "Destination": {"Service": "spare"}}]

    await bed.entry("service-router", "api", Routes=to_spare(PathRegex="/a+"))
    assert await bed.tally(10, "/aa") == {"spare-1": 10}
    await bed.entry("service-router", "api", Routes=to_spare(PathRegex="/(a+"))
    await named(bed, "service-router api", "Routes[0].Match.HTTP.PathRegex", "last good")
    assert await bed.tally(10, "/aa") == {"spare-1": 10}
    assert set(await bed.tally(20, "/b")) <= API
    await bed.entry("service-router", "api", Routes=to_spare(PathRegex="/b+"))
    assert await bed.tally(10, "/b") == {"spare-1": 10}
    assert set(await bed.tally(20, "/aa")) <= API
    await no_problem(bed)


async def test_a_policy_to_a_missing_subset_leaves_the_last_good_routing(bed: Bed) -> None:
    def to(backend: str) -> Mapping[str, Any]:
        rule = f"[{{default: {{backendRefs: [{{kind: MeshService, {backend}}}]}}}}]"
        return http_route(rule, service="spare")

    await bed.apply(to("name: api"))
    assert set(await bed.tally(40, service="spare")) == API
    # Written past `mesh apply`, which would refuse it.
    await bed.apply(to("name: api, subset: v9"))
    problem = await named(bed, "MeshHTTPRoute routes", "api has no subset", "v9")
    assert problem["services"] == ["spare"]
    assert STANDING in problem["message"]
    assert set(await bed.tally(40, service="spare")) == API
    await bed.apply(to("name: spare"))
    assert await bed.tally(10, service="spare") == {"spare-1": 10}
    await no_problem(bed)


async def test_a_subset_that_goes_leaves_the_routing_of_a_policy_that_names_it(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)
    await bed.apply(
        http_route("""
- matches: [{path: {type: PathPrefix, value: /new}}]
  default: {backendRefs: [{kind: MeshService, name: api, subset: v2}]}
""")
    )
    assert await bed.tally(20, "/new") == {"api-3": 20}
    await bed.entry("service-resolver", "api", Subsets={"v1": SUBSETS["v1"]})
    problem = await named(bed, "MeshHTTPRoute routes", "api has no subset", "v2")
    assert STANDING in problem["message"]
    assert await bed.tally(20, "/new") == {"api-3": 20}
    await bed.entry("service-resolver", "api", Subsets={"v2": SUBSETS["v1"]})
    assert set(await bed.tally(20, "/new")) == {"api-1", "api-2"}
    await no_problem(bed)
