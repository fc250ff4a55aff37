"""Gateways come, go and die under load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.traffic.waiting import until
from tests.zones.estates import Three, three
from tests.zones.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

RETRY = {
    "type": "MeshRetry",
    "name": "reads",
    "spec": {
        "to": [
            {
                "targetRef": {"kind": "Mesh"},
                "default": {
                    "http": {
                        "numRetries": 3,
                        "retryOn": ["Reset", "ConnectFailure", "RefusedStream"],
                    }
                },
            }
        ]
    },
}
"""What reads things may say: a call that was cut off is made again."""
IN_FLIGHT = 20
"""How many calls the load has under way at most."""


def targets(found: Three) -> dict[str, str]:
    return {
        "local": found.a.url("web", "api"),
        "across": found.a.url("web", "orders"),
    }


async def gateways_seen(found: Three, count: int) -> None:
    async def so() -> bool | None:
        known = (await found.zones_seen(found.a))["b"]
        return True if len(known["gateways"]) == count else None

    await until(f"zone a knows {count} gateways of b", so, patience=30)


async def test_a_gateway_that_is_killed_costs_what_was_under_way_on_it(tmp_path: Path) -> None:
    async with three(tmp_path, gateways=2) as found:
        await gateways_seen(found, 2)
        async with Load(targets(found), callers=IN_FLIGHT) as load:
            await load.reach(200)
            await found.b.estate.kill_proxy(found.b.estate.services["gateway-1"])
            await load.reach(600)
        assert load.calls["local"].failed == 0
        assert load.calls["across"].failed <= IN_FLIGHT
        await gateways_seen(found, 1)
        # The other alone, and whoever may says that calls cut off are made again.
        await found.b.estate.start_gateway("gateway-3")
        await found.b.estate.ready("gateway-3")
        await gateways_seen(found, 2)
        await found.apply(found.a, RETRY)
        async with Load(targets(found), callers=IN_FLIGHT) as load:
            await load.reach(200)
            await found.b.estate.kill_proxy(found.b.estate.services["gateway-2"])
            await load.reach(600)
        assert load.failed == 0, str(load)


async def test_gateways_are_added_and_removed_without_a_failed_call(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        async with Load(targets(found), seconds=150) as load:
            await load.reach(100)
            await found.b.estate.start_gateway("gateway-2")
            await found.b.estate.ready("gateway-2")
            await gateways_seen(found, 2)
            moment = time.monotonic()
            await load.reach(400)
            await found.b.estate.services["gateway-1"].child.stop()
            await gateways_seen(found, 1)
            await load.reach(400)
        assert load.failed == 0, str(load)
        assert load.calls["across"].since(moment).zones["b"] >= 800
