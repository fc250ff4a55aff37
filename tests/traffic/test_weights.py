"""Traffic shared out: weights, canaries, a switch of colours, tests of A and B, mirrors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

CALLS = 400


async def with_versions(bed: Bed) -> None:
    """Give ``api`` the subsets v1 and v2."""
    await bed.entry("service-resolver", "api", Subsets=SUBSETS)


def split(first: str, second: str) -> str:
    """Return a rule with two backends (YAML, without their kind)."""
    return f"""
- default:
    backendRefs:
      - {{kind: MeshService, {first}}}
      - {{kind: MeshService, {second}}}
"""


async def test_weights_between_services(bed: Bed) -> None:
    await bed.apply(http_route(split("name: api, weight: 3", "name: spare, weight: 1")))
    found = await bed.tally(CALLS)
    assert found.total() == CALLS
    assert set(found) == {"api-1", "api-2", "api-3", "spare-1"}
    assert within(found["spare-1"], CALLS, 0.25)


async def test_a_weight_of_nothing_gets_nothing(bed: Bed) -> None:
    await bed.apply(http_route(split("name: api, weight: 0", "name: spare, weight: 7")))
    assert await bed.tally(50) == {"spare-1": 50}


async def test_references_to_subsets(bed: Bed) -> None:
    await with_versions(bed)
    await bed.apply(
        http_route("""
- matches: [{path: {type: PathPrefix, value: /one}}]
  default: {backendRefs: [{kind: MeshService, name: api, subset: v1}]}
- matches: [{path: {type: PathPrefix, value: /two}}]
  default: {backendRefs: [{kind: MeshService, name: api, subset: v2}]}
""")
    )
    assert set(await bed.tally(40, "/one")) == {"api-1", "api-2"}
    assert set(await bed.tally(20, "/two")) == {"api-3"}
    assert set(await bed.tally(60, "/rest")) == {"api-1", "api-2", "api-3"}


async def test_canary_by_weight_grows_and_goes(bed: Bed) -> None:
    await with_versions(bed)
    for percent in (0, 10, 50, 100, 0):
        stable = f"name: api, subset: v1, weight: {100 - percent}"
        canary = f"name: api, subset: v2, weight: {percent}"
        await bed.apply(http_route(split(stable, canary), name="canary"))
        count = CALLS if 0 < percent < 100 else 40
        found = await bed.tally(count)
        assert within(found["api-3"], count, percent / 100), percent
        assert found["api-1"] + found["api-2"] == count - found["api-3"]


@dataclass(slots=True)
class Load:
    """Callers that never pause, and whom they were answered by."""

    bed: Bed
    colour: str = ""
    """The version that alone may answer; empty while it is being changed."""
    switches: int = 0
    by_entry: bool = False
    """Whether Consul's resolver says the colour, or a policy."""
    ended: bool = False
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    async def call(self) -> None:
        """Call until the end; a POST, as nothing on the way repeats one by itself."""
        while not self.ended:
            expected, began = self.colour, self.switches
            try:
                answer = await self.bed.call("/shop", method="POST", body=b"x" * 100)
            except aiohttp.ClientError as error:
                self.failed.append(repr(error))
                continue
            if answer.status != 200:
                self.failed.append(f"{answer.status} {answer.text}")
                continue
            colour = "v2" if answer.instance == "api-3" else "v1"
            self.answered[colour] += 1
            if began == self.switches and expected not in {"", colour}:
                self.stale.append(f"{answer.instance} instead of {expected}")

    async def goes_on(self, count: int = 60) -> None:
        """Wait until ``count`` more calls are answered or have failed."""
        enough = self.answered.total() + len(self.failed) + count

        async def reached() -> bool | None:
            return True if self.answered.total() + len(self.failed) >= enough else None

        await until("the load goes on", reached)

    async def switch(self, colour: str) -> None:
        """Send everything to ``colour``, and hold it to that from when it is in force."""
        self.colour, self.switches = "", self.switches + 1
        if self.by_entry:
            await self.bed.entry("service-resolver", "api", Subsets=SUBSETS, DefaultSubset=colour)
            self.colour = colour
            return
        rule = (
            f"[{{default: {{backendRefs: [{{kind: MeshService, name: api, subset: {colour}}}]}}}}]"
        )
        await self.bed.apply(http_route(rule, name="colour"))
        self.colour = colour


@asynccontextmanager
async def load(found: Load, callers: int) -> AsyncIterator[Load]:
    """Keep ``callers`` calling within the block."""
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(found.call())
        try:
            yield found
        finally:
            found.ended = True


@pytest.mark.parametrize("by_entry", [False, True], ids=["by policy", "by Consul's resolver"])
async def test_blue_green_switch_under_load_fails_no_request(bed: Bed, *, by_entry: bool) -> None:
    await with_versions(bed)
    for name in ("api-1", "api-2", "api-3"):
        # So long that there are always calls under way while the colour changes.
        bed.apps[name].behaviour.delay = 0.02
    running = Load(bed, by_entry=by_entry)
    await running.switch("v1")
    async with load(running, callers=10):
        for colour in ("v2", "v1", "v2", "v1", "v2"):
            await running.goes_on()
            await running.switch(colour)
        await running.goes_on()
        # And as fast as it goes, without waiting for calls in between.
        for colour in ("v1", "v2", "v1"):
            await running.switch(colour)
        await running.goes_on()
    assert running.failed == []
    assert running.stale == []
    assert running.answered["v1"] >= 100
    assert running.answered["v2"] >= 100
    seen = sum(app.seen["/shop"] for app in bed.apps.values())
    assert seen == running.answered.total()


async def test_a_b_by_header(bed: Bed) -> None:
    await with_versions(bed)
    await bed.apply(
        http_route("""
- matches: [{headers: [{name: x-group, value: b}]}]
  default: {backendRefs: [{kind: MeshService, name: api, subset: v2}]}
- default: {backendRefs: [{kind: MeshService, name: api, subset: v1}]}
""")
    )
    assert set(await bed.tally(20, headers={"x-group": "b"})) == {"api-3"}
    assert set(await bed.tally(20, headers={"x-group": "a"})) == {"api-1", "api-2"}
    assert set(await bed.tally(20)) == {"api-1", "api-2"}


async def test_a_b_by_cookie(bed: Bed) -> None:
    await with_versions(bed)
    await bed.apply(
        http_route(r"""
- matches:
    - headers: [{type: RegularExpression, name: cookie, value: '(.*;\s*)?group=b(;.*)?'}]
  default: {backendRefs: [{kind: MeshService, name: api, subset: v2}]}
- default: {backendRefs: [{kind: MeshService, name: api, subset: v1}]}
""")
    )
    for cookie in ("group=b", "user=anna; group=b", "group=b; user=anna", "a=1; group=b; c=2"):
        assert set(await bed.tally(5, headers={"cookie": cookie})) == {"api-3"}, cookie
    for cookie in ("group=a", "group=bb", "subgroup=b", "user=group; b=1"):
        assert "api-3" not in await bed.tally(5, headers={"cookie": cookie}), cookie


MIRRORING = """
- matches: [{{path: {{type: PathPrefix, value: /copied}}}}]
  default:
    filters:
      - type: RequestMirror
        requestMirror: {{percentage: {percent}, backendRef: {{kind: MeshService, name: spare}}}}
"""


async def test_mirror_all_requests(bed: Bed) -> None:
    await bed.apply(http_route(MIRRORING.format(percent=100)))
    spare = bed.apps["spare-1"]
    # Whatever becomes of the copies, the callers see the main answers only.
    spare.behaviour.status, spare.behaviour.failures = 500, 1000
    found = await bed.tally(50, "/copied?n=1", method="POST", body=b"content")
    assert found.total() == 50
    assert set(found) <= {"api-1", "api-2", "api-3"}
    assert await bed.tally(10, "/other")

    async def copied() -> bool | None:
        return True if spare.seen["/copied"] >= 50 else None

    await until("every request is copied", copied)
    assert spare.seen == {"/copied": 50}
    copy = spare.requests[-1]
    assert (copy["method"], copy["path"], copy["body"]) == ("POST", "/copied?n=1", "content")
    assert sum(bed.apps[name].seen["/copied"] for name in ("api-1", "api-2", "api-3")) == 50


async def test_mirror_a_percentage_of_requests(bed: Bed) -> None:
    await bed.apply(http_route(MIRRORING.format(percent=30)))
    spare = bed.apps["spare-1"]
    found = await bed.tally(CALLS, "/copied")
    assert found.total() == CALLS
    assert set(found) == {"api-1", "api-2", "api-3"}

    async def copied() -> bool | None:
        return True if within(spare.seen["/copied"], CALLS, 0.3) else None

    await until("a share of the requests is copied", copied)
