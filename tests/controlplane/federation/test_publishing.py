"""What a zone says of itself."""

from __future__ import annotations

import asyncio

import pytest

from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.ca.local import LocalIssuer
from mesh.clients.consul import ConsulClient
from mesh.controlplane.federation.publishing import Publisher, gateways
from mesh.controlplane.hub import Hub
from mesh.model.names import WAN_META, ZONE_GATEWAY
from mesh.model.services import Health, Instance
from mesh.model.zones import Gateway
from mesh.sources.zones import document
from mesh.world.changes import CatalogChanged, InstancesChanged, InstancesForgotten
from mesh.world.snapshot import World
from tests.controlplane.test_hub import Told
from tests.traffic.waiting import until

SERVICES = frozenset({"api", ZONE_GATEWAY})
KEY = f"{document.PREFIX}west"


def world(*instances: Instance) -> World:
    return World("west", "mesh.test", instances={ZONE_GATEWAY: instances})


def instance(name: str, *, wan: str = "", health: Health = Health.PASSING) -> Instance:
    meta = {WAN_META: wan} if wan else {}
    return Instance(name, "node", "10.0.2.11", 10001, health=health, meta=meta)


def test_healthy_gateways_are_told_where_other_zones_dial_them() -> None:
    found = world(
        instance("gw-1"),
        instance("gw-2", wan="203.0.113.7:10001"),
        instance("gw-3", wan="[2001:db8::7]:443"),
        instance("gw-4", wan="203.0.113.9:10001", health=Health.CRITICAL),
    )
    assert gateways(found) == {
        Gateway("10.0.2.11", 10001),
        Gateway("203.0.113.7", 10001),
        Gateway("2001:db8::7", 443),
    }


@pytest.mark.parametrize("wan", ["gw.example:10001", "203.0.113.7:0", "203.0.113.7:70000", "x"])
def test_one_that_is_nowhere_does_not_spoil_the_rest(wan: str) -> None:
    found = world(instance("gw-1"), instance("gw-2", wan=wan))
    assert gateways(found) == {Gateway("10.0.2.11", 10001)}


async def test_a_leader_that_leads_again_leaves_nothing_out(
    consul: ConsulClient, issuer: LocalIssuer
) -> None:
    hub, asked = Hub(World("west", "mesh.test"), Told()), asyncio.Event()

    def need(services: frozenset[str]) -> None:
        if services:
            asked.set()
        else:
            for name in SERVICES:
                hub.emit(InstancesForgotten(name))

    def answer() -> None:
        for name in SERVICES:
            hub.emit(InstancesChanged(name, (instance(f"{name}-1"),)))

    async def whole() -> bool | None:
        held = (await consul.kv_get(KEY)).value
        said = document.parse(held.data, KEY).zone if held is not None else None
        return True if said is not None and said.services and said.gateways else None

    hub.attach(publish=lambda _: None, need=need)
    hub.emit(CatalogChanged(SERVICES))
    publisher = Publisher(consul, hub, issuer, lambda: {"api": [], "xds": []}, SystemClock())
    async with Tasks("first term") as tasks:
        tasks.spawn("publish", publisher.run())
        await asked.wait()
        answer()
        await until("all is published", whole)
    asked.clear()
    async with Tasks("second term") as tasks:
        tasks.spawn("publish", publisher.run())
        await asked.wait()
        # Its instances are not known again yet: nothing new is said meanwhile.
        index = (await consul.kv_get(KEY)).index
        held = await consul.kv_get(KEY, index=index, wait=1)
        assert held.value is not None
        assert document.parse(held.value.data, KEY).zone.services
        answer()
        await until("all is published", whole)
