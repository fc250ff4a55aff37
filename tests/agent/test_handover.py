"""Real Envoys: one relieves another, under load."""

from __future__ import annotations

import asyncio
import dataclasses
import errno

from aiohttp import ClientOSError, ClientSession, ClientTimeout

from mesh.agent.envoy_process import Role
from mesh.aio.tasks import Tasks
from tests.agent import discovery
from tests.agent.supervised import Place, get, record, serves, supervised
from tests.waiting import until


async def test_new_addresses_of_the_zone_have_the_envoy_relieved(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
        old = supervisor.live
        assert old is not None
        supervisor.follow(place.bootstrap)
        place.zone.on = False
        moved = {**place.bootstrap, "node": {**place.bootstrap["node"], "cluster": "moved"}}
        supervisor.follow(moved)
        # At the new ones nobody answers yet: the old one goes on.
        await until(lambda: supervisor.live is None)
        assert supervisor.serving is old
        assert await get(place.inbound) == "hello /"
        place.zone.on = True
        await until(lambda: supervisor.live is not None)
        await until(lambda: not old.alive())
        assert await get(place.inbound) == "hello /"
        assert supervisor.restarts == 0


async def test_an_envoy_that_still_waits_for_the_old_addresses_is_replaced(place: Place) -> None:
    waiting = {**place.bootstrap, "dynamic_resources": {"lds_config": discovery.source("absent")}}
    async with supervised(dataclasses.replace(place, bootstrap=waiting)) as supervisor:
        await until(lambda: bool(supervisor.processes))
        (old,) = supervisor.processes
        supervisor.follow(place.bootstrap)
        await serves(supervisor, Role.LIVE)
        await until(lambda: not old.alive())
        assert await get(place.inbound) == "hello /"


async def test_the_handover_to_the_zone_loses_no_request(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
    place.zone.on = False
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.FALLBACK)
        old = supervisor.serving
        assert old is not None
        done: list[str] = []
        reset: list[OSError] = []
        finished = asyncio.Event()

        async def load(port: int) -> None:
            # Kept connections and new ones by turns.
            async with ClientSession(timeout=ClientTimeout(total=5)) as kept:
                while not finished.is_set():
                    async with kept.get(f"http://127.0.0.1:{port}/kept") as answer:
                        assert answer.status == 200
                        done.append(await answer.text())
                    try:
                        done.append(await get(port, "/new"))
                    except ClientOSError as error:
                        # The kernel resets a connection that waits, not accepted, at a socket
                        # that closes (unless net.ipv4.tcp_migrate_req is set); the caller, for
                        # whom it is connected, learns it while connecting or when it has asked.
                        assert error.errno == errno.ECONNRESET  # noqa: PT017 - the others are lost calls
                        reset.append(error)
                    await asyncio.sleep(0.005)

        async with Tasks("load") as tasks:
            loads = [tasks.spawn(f"load {port}", load(port)) for port in (place.outbound,) * 3]
            await until(lambda: len(done) > 50)
            place.zone.on = True
            await until(lambda: not old.alive(), what="the old envoy is gone")
            await serves(supervisor, Role.LIVE)
            count = len(done)
            await until(lambda: len(done) > count + 50)
            finished.set()
            await asyncio.gather(*loads)
        assert len(done) > 100
        assert len(reset) <= len(loads)
