"""Where connections go that carry no HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mesh.model.intentions import Action, Intention
from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import tcp_route
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

CONNECTIONS = 200


async def dialled(bed: Bed, count: int = CONNECTIONS, *, caller: str = "web") -> Counter[str]:
    """Open ``count`` connections, eight at a time; count who greeted."""
    gate = asyncio.Semaphore(8)

    async def one() -> str:
        async with gate:
            return await bed.dial(caller=caller)

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def split(bed: Bed, old: int, new: int) -> None:
    """Share the connections to ``store`` out between its versions."""
    await bed.entry("service-resolver", "store", Subsets=SUBSETS)
    await bed.apply(
        tcp_route(f"""
- default:
    backendRefs:
      - {{kind: MeshService, name: store, subset: v1, weight: {old}}}
      - {{kind: MeshService, name: store, subset: v2, weight: {new}}}
""")
    )


async def test_tcp_weights(bed: Bed) -> None:
    await split(bed, 75, 25)
    found = await dialled(bed)
    assert found.total() == CONNECTIONS
    assert set(found) == {"store-1", "store-2"}
    assert within(found["store-2"], CONNECTIONS, 0.25)


async def test_tcp_subset(bed: Bed) -> None:
    await split(bed, 0, 1)
    assert await dialled(bed, 20) == {"store-2": 20}


async def test_tcp_default_subset_of_the_resolver(bed: Bed) -> None:
    await bed.entry("service-resolver", "store", Subsets=SUBSETS, DefaultSubset="v1")
    assert await dialled(bed, 20) == {"store-1": 20}


async def test_tcp_switch_leaves_open_connections_alone(bed: Bed) -> None:
    await split(bed, 1, 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port("store"))
    try:
        assert await reader.readline() == b"store-1\n"
        await split(bed, 0, 1)
        assert await dialled(bed, 10) == {"store-2": 10}
        writer.write(b"still here\n")
        assert await asyncio.wait_for(reader.readline(), 10) == b"still here\n"
    finally:
        writer.close()


async def test_tcp_backend_that_the_caller_may_not_call_is_closed(bed: Bed) -> None:
    await bed.consul.intentions.put(Intention("web", "store", Action.DENY))

    async def greeted(expected: str) -> bool | None:
        return True if bool(await bed.dial()) is bool(expected) else None

    try:
        await until("connections are closed", lambda: greeted(""))
        assert await dialled(bed, 10) == {"": 10}
        assert set(await dialled(bed, 20, caller="admin")) == {"store-1", "store-2"}
    finally:
        await bed.consul.intentions.delete("web", "store")
        await until("connections are served", lambda: greeted("store"))
