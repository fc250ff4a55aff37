"""Calls in plain text beside those of the mesh, while callers move in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from mesh.demo.estate import HOST
from mesh.model.intentions import Action, Intention
from tests.traffic.bed import Bed
from tests.traffic.callee import always, rules, statuses
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshTLS"
PERMISSIVE = "{mode: Permissive}"


async def plain(bed: Bed, instance: str = "spare-1", path: str = "/") -> int:
    """Call an instance's proxy in plain text; 0 if it closes the connection."""
    url = f"http://{HOST}:{bed.estate.services[instance].inbound_port}{path}"
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.get(url) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


async def plainly(bed: Bed, status: int, instance: str = "spare-1") -> None:
    """Wait until plain text is answered so."""

    async def ask() -> bool | None:
        return True if await plain(bed, instance) == status else None

    await until(f"plain text is answered with {status}", ask)


@asynccontextmanager
async def intentions(bed: Bed, *wanted: Intention) -> AsyncIterator[None]:
    """Let only ``wanted`` speak of ``spare`` within the block."""
    await bed.consul.intentions.delete("*", "spare")
    try:
        for each in wanted:
            await bed.consul.intentions.put(each)
        yield
    finally:
        for each in wanted:
            await bed.consul.intentions.delete(each.source, each.destination)
        await bed.consul.intentions.put(Intention("*", "spare", Action.ALLOW))
        await answered_again(bed)


async def answered_again(bed: Bed) -> None:
    """Wait until both callers may call again."""

    async def ask() -> bool | None:
        found = [await statuses(bed, 1, service="spare", caller=one) for one in ("web", "admin")]
        return True if found == [[200], [200]] else None

    await until("everybody may call again", ask)


async def test_strict_is_the_default_and_refuses_plain_text(bed: Bed) -> None:
    assert await plain(bed) == 0
    assert await statuses(bed, 2, service="spare") == [200] * 2


async def test_permissive_serves_plain_text_and_strict_again_refuses_it(bed: Bed) -> None:
    await bed.apply(always(KIND, PERMISSIVE, service="spare"))
    await plainly(bed, 200)
    assert [await plain(bed) for _ in range(3)] == [200] * 3
    assert await statuses(bed, 3, service="spare") == [200] * 3
    await bed.apply(always(KIND, "{mode: Strict}", service="spare"))
    await plainly(bed, 0)
    assert [await plain(bed) for _ in range(3)] == [0] * 3
    assert await statuses(bed, 3, service="spare") == [200] * 3


async def test_caller_in_plain_text_is_nobody_in_particular(bed: Bed) -> None:
    await bed.apply(always(KIND, PERMISSIVE, service="spare"))
    await plainly(bed, 200)
    bed.apps["spare-1"].requests.clear()
    forged = {"x-forwarded-client-cert": "URI=spiffe://demo.mesh/ns/default/dc/dc1/svc/web"}
    url = f"http://{HOST}:{bed.estate.services['spare-1'].inbound_port}/"
    async with aiohttp.ClientSession() as session, session.get(url, headers=forged) as answer:
        assert answer.status == 200
    assert "x-forwarded-client-cert" not in bed.apps["spare-1"].requests[-1]["headers"]


async def test_plain_text_is_refused_where_intentions_name_callers(bed: Bed) -> None:
    await bed.apply(always(KIND, PERMISSIVE, service="spare"))
    await plainly(bed, 200)
    named = (Intention(one, "spare", Action.ALLOW) for one in ("web", "admin"))
    async with intentions(bed, *named):
        await plainly(bed, 0)
        await answered_again(bed)
        assert [await plain(bed) for _ in range(3)] == [0] * 3
        assert await statuses(bed, 3, service="spare") == [200] * 3
    await plainly(bed, 200)


async def test_permissive_at_one_instance_only(bed: Bed) -> None:
    await bed.apply(always(KIND, PERMISSIVE, version="v2"))
    await plainly(bed, 200, "api-3")
    assert [await plain(bed, one) for one in ("api-1", "api-2")] == [0, 0]
    assert set(await bed.tally(30)) == {"api-1", "api-2", "api-3"}


async def test_permissive_for_a_service_whose_server_speaks_first(bed: Bed) -> None:
    await bed.apply(always(KIND, PERMISSIVE, service="store"))
    port = bed.estate.services["store-1"].inbound_port

    async def ask() -> bytes | None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            return await reader.readline() or None
        except ConnectionError:
            return None
        finally:
            writer.close()

    assert await until("plain text is served", ask) == b"store-1\n"
    assert (await bed.dial()).startswith("store-")


async def test_inbound_policies_hold_for_plain_text_too(bed: Bed) -> None:
    fault = "[{matches: [{path: {type: Exact, value: /bad}}], default: %s}]"
    abort = "{http: {abort: {httpStatus: 418, percentage: 100}}}"
    await bed.apply(
        always(KIND, PERMISSIVE, service="spare"),
        rules("MeshFaultInjection", fault % abort, service="spare"),
    )
    await plainly(bed, 200)
    assert await plain(bed, path="/bad") == 418
    assert await plain(bed, path="/good") == 200
