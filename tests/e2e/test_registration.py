"""A host without a Consul agent: the zone registers its instances, on lease."""

from __future__ import annotations

import aiohttp
import pytest

from mesh.demo.estate import HOST, free_ports
from mesh.model.intentions import Action, Intention
from tests.e2e.applications import shop
from tests.e2e.bed import Bed
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_through_the_zone_and_away_again(bed: Bed) -> None:
    (port,) = free_ports(1)
    await bed.consul.config_put({"Kind": "service-defaults", "Name": "courier", "Protocol": "http"})
    await bed.consul.intentions.put(Intention("dispatcher", "courier", Action.ALLOW))
    async with shop(port), aiohttp.ClientSession() as session:
        courier = await bed.estate.start_proxy(
            "courier", app_port=port, settings={"registration": "zone"}
        )
        dispatcher = await bed.estate.start_proxy(
            "dispatcher",
            app_port=free_ports(1)[0],
            upstreams=["courier"],
            settings={"registration": "none"},
        )
        await bed.estate.ready("courier", "dispatcher")
        url = f"http://{HOST}:{dispatcher.upstreams['courier']}/"

        async def answered() -> int | None:
            async with session.get(url) as answer:
                return answer.status if answer.status == 200 else None

        assert await until("courier answers", answered) == 200
        (entry,) = (await bed.consul.health_connect("courier")).value
        assert entry.node.node == "mesh-courier-1"

        await courier.child.stop()

        async def gone() -> bool | None:
            return True if not (await bed.consul.health_connect("courier")).value else None

        assert await until("courier has deregistered", gone)
        await dispatcher.child.stop()
