"""The bed of several zones does what tests of several zones rely on."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from mesh.clients.consul import ConsulClient
from mesh.model.intentions import Action, Intention
from tests.traffic.waiting import until
from tests.zones import namespaces
from tests.zones.bed import Bed, made
from tests.zones.consul import Consul
from tests.zones.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


async def knows(consul: Consul, service: str, *, zone: str = "") -> None:
    """Wait until a Consul answers that a service is in a zone."""

    async def ask() -> bool | None:
        listed = await consul.get("catalog/services", zone=zone)
        return True if listed is not None and service in listed else None

    await until(f"{consul.zone} knows {service} of {zone or 'its own'}", ask)


async def register(consul: Consul, service: str) -> None:
    """Register a service with nothing behind it."""
    await consul.put("agent/service/register", {"Name": service, "Port": 1})


async def test_each_consul_reads_the_others(bed: Bed) -> None:
    for zone in bed.zones.values():
        await register(zone.consul, f"only-{zone.name}")
    for reader in bed.consuls:
        for name in bed.zones:
            await knows(reader, f"only-{name}", zone=name)
        listed = await reader.get("catalog/services")
        assert {each for each in listed if each.startswith("only-")} == {f"only-{reader.zone}"}


async def test_intentions_of_the_primary_come_to_all(bed: Bed) -> None:
    async with ConsulClient(bed.zones["a"].consul.address) as client:
        await client.intentions.put(Intention("web", "api", Action.DENY))
        for consul in bed.consuls:

            async def ask(consul: Consul = consul) -> bool | None:
                return True if ("web", "api") in await consul.intentions() else None

            await until(f"{consul.zone} has the intention", ask)
        await client.intentions.delete("web", "api")


async def test_a_cut_between_consuls_hurts_only_reads_across_it(bed: Bed) -> None:
    a, b, c = bed.consuls
    await bed.network.cut("a", "b")
    assert await a.get("catalog/services", zone="b", patience=1) is None
    assert await b.get("catalog/services", zone="a", patience=1) is None
    for consul in (a, b):
        assert await consul.get("catalog/services")
        assert await consul.get("catalog/services", zone="c")
        assert await c.get("catalog/services", zone=consul.zone)
    await bed.network.heal("a", "b")
    await bed.federated()


async def test_a_consul_can_be_frozen_killed_and_emptied(bed: Bed) -> None:
    a, b, _ = bed.consuls
    await register(b, "lasting")

    b.freeze()
    assert await b.get("catalog/services", patience=0.5) is None
    assert await a.get("catalog/services", zone="b", patience=0.5) is None
    b.thaw()
    await knows(a, "lasting", zone="b")

    await b.kill()
    assert await b.get("catalog/services") is None
    await b.start()
    await knows(b, "lasting")
    await b.restart()
    await knows(b, "lasting")

    await b.wipe()
    assert "lasting" not in await b.get("catalog/services")
    await bed.federated()


async def test_applications_say_where_they_are(bed: Bed) -> None:
    b = bed.zones["b"]
    http = await b.start_application("shop-1")
    async with bed.session.get(f"http://{http.address}:{http.port}/orders") as answer:
        assert answer.headers["x-zone"] == "b"
        assert await answer.json() == {"zone": "b", "instance": "shop-1", "path": "/orders"}
    tcp = await b.start_application("cache-1", protocol="tcp")
    reader, writer = await asyncio.open_connection(tcp.address, tcp.port)
    writer.write(b"echo\n")
    assert await reader.readline() == b"b cache-1\n"
    assert await reader.readline() == b"echo\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.alone
async def test_load_counts_every_call_and_who_answered(bed: Bed) -> None:
    places = {name: await zone.start_application("any") for name, zone in bed.zones.items()}
    targets = {name: f"http://{each.address}:{each.port}/" for name, each in places.items()}
    async with Load(targets) as load:
        began = time.monotonic()
        await load.reach(200)
        took = time.monotonic() - began
        assert load.failed == 0, str(load)
        await places["b"].child.kill()
        await load.reach(20)
    assert 0.8 < took < 2, f"200 calls at 200 a second took {took} s"
    a, b, c = (load.calls[zone] for zone in bed.zones)
    assert (a.failed, c.failed) == (0, 0), str(load)
    assert b.failed >= 20 <= b.sent - b.failed, str(load)
    assert (set(a.zones), set(b.zones)) == ({"a"}, {"b"})
    assert 0 < a.percentile(50) <= a.percentile(99) <= a.percentile(100)

    async with Load(targets, most=10) as bounded:
        await bounded.finished()
    assert {each.sent for each in bounded.calls.values()} == {10}


async def test_a_mesh_stands_in_each_zone_under_one_root(bed: Bed) -> None:
    zones = [bed.zones["a"], bed.zones["b"]]
    for zone in zones:
        async with ConsulClient(zone.consul.address) as client:
            await client.config_put({"Kind": "service-defaults", "Name": "api", "Protocol": "http"})

    async def start(number: int) -> None:
        zone = zones[number]
        await zone.start_control_plane()
        await zone.start_service("api")
        await zone.start_caller("web", ["api"])
        await zone.estate.ready()

    await asyncio.gather(start(0), start(1))
    for zone in zones:

        async def called(url: str = zone.url("web", "api")) -> bool | None:
            async with bed.session.get(url) as answer:
                return True if answer.ok else None

        await until(f"calls pass in {zone.name}", called)
    async with Load({zone.name: zone.url("web", "api") for zone in zones}) as load:
        await load.reach(100)
        await bed.network.isolate("a")
        await load.reach(100)
        await bed.network.rejoin("a")
    assert load.failed == 0, str(load)
    for zone in zones:
        assert set(load.calls[zone.name].zones) == {zone.name}
    roots = {zone.estate.bundle_file.read_text() for zone in zones}
    assert len(roots) == 1


@pytest.mark.alone
async def test_nothing_is_left(tmp_path: Path) -> None:
    before, children = networks(), offspring()
    async with made(tmp_path, ("a", "b"), vault=False) as bed:
        await bed.zones["b"].start_application("left")
        bed.zones["b"].consul.freeze()
        await bed.network.delay("a", "b", 10)
        assert networks() > before
        assert len(offspring()) == len(children) + 4
    assert networks() == before
    assert offspring() == children


def networks() -> set[str]:
    """Return the namespaces that this process has made and not removed."""
    return {each for each in namespaces.existing() if f"-{os.getpid()}-" in each}


def offspring() -> set[str]:
    """Return the processes that this one has started and that have not ended."""
    mine = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {pid for task in mine for pid in task.read_text().split()}
