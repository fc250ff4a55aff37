"""Two control planes side by side on one zone: real Consul, real OpenBao, either may die."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from mesh.demo.estate import HOST, Estate, free_ports
from mesh.demo.load import Load
from mesh.model.intentions import Action, Intention
from tests import realconsul
from tests.e2e.applications import shop
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


async def test_proxies_go_over_to_the_other_and_no_request_is_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Estate(tmp_path / "1"))
        second = await stack.enter_async_context(Estate(tmp_path / "2"))
        await first.start_vault()
        await first.start_consul(str(realconsul.binary()))
        second.beside(first)
        await first.start_zone()
        await second.start_zone()
        consul = await stack.enter_async_context(first.client())
        shop_port, caller_port = free_ports(2)
        await stack.enter_async_context(shop(shop_port))
        await consul.config_put({"Kind": "service-defaults", "Name": "shop", "Protocol": "http"})
        both = {"zone_api": [first.zone_api, second.zone_api]}
        await first.start_proxy("shop", app_port=shop_port, settings=both)
        caller = await first.start_proxy(
            "caller",
            app_port=caller_port,
            upstreams=["shop"],
            settings={**both, "health": {"kind": "none"}},
        )
        await first.ready()
        url = f"http://{HOST}:{caller.upstreams['shop']}/"
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def status(wanted: int) -> bool | None:
            async with session.get(url) as answer:
                return True if answer.status == wanted else None

        # Consul without ACLs allows by default.
        await until("the call passes", lambda: status(200))
        async with Load(url) as load:
            await load.reach(100)
            assert first.zone is not None
            await first.zone.kill()
            await load.reach(200)
        assert load.tally.failed == 0, str(load.tally)

        # The survivor has both proxies, and news reaches them through it.
        await consul.intentions.put(Intention("caller", "shop", Action.DENY))
        await until("the survivor's news bites", lambda: status(403))
