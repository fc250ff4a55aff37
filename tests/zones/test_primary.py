"""The primary datacenter dies, or freezes: every other zone goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mesh.clients.consul import ConsulClient, ConsulError
from mesh.model.intentions import Action, Intention
from tests.traffic.waiting import until
from tests.zones.estates import Three, three
from tests.zones.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

GONE_FOR = 30.0
"""Seconds: longer than any read of the primary that was under way waits."""


def targets(found: Three) -> dict[str, str]:
    return {"local": found.c.url("web", "api"), "across": found.c.url("web", "orders")}


async def elsewhere(found: Three, fault: str) -> None:
    """Write an intention as somebody in a secondary would; while the primary is ``fault``."""
    async with ConsulClient(found.c.consul.address, margin=2.0) as client:
        with pytest.raises(ConsulError):
            await client.intentions.put(Intention("nobody", "nothing", Action.DENY))
    print(f"while the primary is {fault}, a new intention is refused")  # noqa: T201 - for people


async def arrives(found: Three) -> None:
    """Write it again, and wait until it bites where it is enforced."""

    async def written() -> bool | None:
        try:
            async with ConsulClient(found.c.consul.address) as client:
                await client.intentions.put(Intention("web", "api", Action.DENY))
        except ConsulError:
            return None
        return True

    async def bites() -> bool | None:
        return True if (await found.status(found.c.url("web", "api")))[0] == 403 else None

    await until("the intention is written", written, patience=60)
    await until("the intention bites", bites, patience=30)


async def test_the_primary_is_killed(tmp_path: Path) -> None:
    async with three(tmp_path, callers=("c",)) as found:
        async with Load(targets(found), seconds=150, most=60_000) as load:
            await load.reach(200)
            await found.a.consul.kill()
            zone = found.a.estate.zone
            assert zone is not None
            await zone.kill()
            killed = time.monotonic()
            await elsewhere(found, "dead")
            # A proxy that starts meanwhile is let in: its own zone has all that it takes.
            await found.c.start_service("api", instance="api-2")
            await found.c.estate.ready("api-2")
            seen = await found.zones_seen(found.c)
            await asyncio.sleep(max(0.0, killed + GONE_FOR - time.monotonic()))
            await found.a.consul.start()
            await found.a.estate.start_zone()
            await found.bed.federated()
            await load.reach(100)
        assert load.failed == 0, str(load)
        assert seen["b"]["state"] == "ok"
        assert seen["a"]["services"]["api"]["healthy"] == 1
        await arrives(found)


async def test_the_primary_freezes(tmp_path: Path) -> None:
    async with three(tmp_path, callers=("c",)) as found:
        async with Load(targets(found), seconds=200, most=60_000) as load:
            await load.reach(200)
            found.a.consul.freeze()
            frozen = time.monotonic()
            await elsewhere(found, "frozen")
            await found.c.start_service("api", instance="api-2")
            await found.c.estate.ready("api-2")
            await asyncio.sleep(max(0.0, frozen + GONE_FOR - time.monotonic()))

            async def stale() -> bool | None:
                return True if (await found.zones_seen(found.c))["a"]["state"] == "stale" else None

            await until("the silence of a is noticed", stale, patience=60)
            found.a.consul.thaw()
            await found.bed.federated()
            await load.reach(100)
        assert load.failed == 0, str(load)
        await arrives(found)
