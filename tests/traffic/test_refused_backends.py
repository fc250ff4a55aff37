"""Backends that the caller may not call: their share is refused, the rest is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mesh.model.intentions import Action, Intention
from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

CALLS = 400
SPLIT = """
- default:
    backendRefs:
      - {kind: MeshService, name: api, weight: 60}
      - {kind: MeshService, name: spare, weight: 40}
"""
MIRRORING = """
- matches: [{path: {type: PathPrefix, value: /copied}}]
  default:
    filters:
      - type: RequestMirror
        requestMirror: {backendRef: {kind: MeshService, name: spare}}
"""


@asynccontextmanager
async def web_may_not_call_spare(bed: Bed) -> AsyncIterator[None]:
    """Deny ``web`` to call ``spare`` within the block."""

    async def calls(expected: int) -> None:
        async def ask() -> bool | None:
            answer = await bed.call(service="spare")
            return True if answer.status == expected else None

        await until(f"calls to spare are answered with {expected}", ask)
        await bed.in_sync()
        for app in bed.apps.values():
            app.seen.clear()

    await bed.consul.intentions.put(Intention("web", "spare", Action.DENY))
    try:
        await calls(403)
        yield
    finally:
        await bed.consul.intentions.delete("web", "spare")
        await calls(200)


async def test_a_sole_backend_that_the_caller_may_not_call_is_refused(bed: Bed) -> None:
    await bed.apply(http_route("[{default: {backendRefs: [{kind: MeshService, name: spare}]}}]"))
    async with web_may_not_call_spare(bed):
        answer = await bed.call()
        assert answer.status == 403
        assert answer.text.startswith("mesh: web may not call spare in zone ")
        assert "web → spare" in answer.text
        assert answer.text.endswith("To allow it: mesh intention allow web spare\n")
        assert await bed.tally(20) == {"403": 20}
        assert await bed.tally(20, caller="admin") == {"spare-1": 20}
        assert bed.apps["spare-1"].seen == {"/": 20}
    assert await bed.tally(5) == {"spare-1": 5}


async def test_a_backend_of_a_split_that_the_caller_may_not_call_loses_its_share(bed: Bed) -> None:
    await bed.apply(http_route(SPLIT))
    async with web_may_not_call_spare(bed):
        found = await bed.tally(CALLS)
        assert set(found) == {"403", "api-1", "api-2", "api-3"}
        assert within(found["403"], CALLS, 0.4)
        assert not bed.apps["spare-1"].seen
        allowed = await bed.tally(CALLS, caller="admin")
        assert within(allowed["spare-1"], CALLS, 0.4)
        assert not allowed["403"]


async def test_a_mirror_that_the_caller_may_not_call_gets_no_copy(bed: Bed) -> None:
    await bed.apply(http_route(MIRRORING))
    async with web_may_not_call_spare(bed):
        assert set(await bed.tally(20, "/copied")) <= {"api-1", "api-2", "api-3"}
        # Calls that are copied go the same way: had the former been, they would be here by now.
        await bed.tally(1, "/copied", caller="admin")

        async def copied() -> bool | None:
            return True if bed.apps["spare-1"].seen["/copied"] else None

        await until("the other caller's request is copied", copied)
        assert bed.apps["spare-1"].seen == {"/copied": 1}
