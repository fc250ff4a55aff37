"""What a zone says of its gateways."""

from __future__ import annotations

import pytest

from mesh.controlplane.federation.publishing import gateways
from mesh.model.names import WAN_META, ZONE_GATEWAY
from mesh.model.services import Health, Instance
from mesh.model.zones import Gateway
from mesh.world.snapshot import World


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
