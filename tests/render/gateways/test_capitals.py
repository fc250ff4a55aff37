"""Envoy looks at the name that a caller asks for in small letters: gateways call clusters so."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.envoy.resource import CLUSTER, LISTENER, Snapshot, unpack
from mesh.model.entries import Entries, LinkedService
from mesh.model.names import OUTSIDE, ZONE_EGRESS, ZONE_GATEWAY
from mesh.model.proxies import Inbound, ProxyNeed, Role
from mesh.model.services import Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.render.renderer import Renderer
from mesh.world.snapshot import World

WEST = Zone(
    "west",
    "mesh.test",
    "PEM",
    (Gateway("10.9.0.1", 10001),),
    {name: Exported(Protocol.HTTP, 1, {"V2": 1}) for name in ("API", "api", "Web")},
)
WORLD = World(
    "here",
    "mesh.test",
    catalog=frozenset({"Shop", "shop"}),
    instances={
        name: (Instance(name, "n1", "10.0.0.1", 15006),)
        for name in ("Shop", "shop", f"{OUTSIDE}Legacy", f"{OUTSIDE}legacy")
    },
    entries=Entries(linked={name: LinkedService(name) for name in ("Legacy", "legacy")}),
    zones={"west": WEST},
)


def _rendered(service: str, role: Role) -> Snapshot:
    need = ProxyNeed(service, "here", Inbound("::", 10001, "::1", 10001), role=role)
    return Renderer(WORLD).connect(1, need)


def _asked(snapshot: Snapshot) -> list[str]:
    listener: Any = unpack(snapshot[LISTENER][0])
    chains = listener.filter_chains
    return sorted(name for one in chains for name in one.filter_chain_match.server_names)


@pytest.mark.parametrize(
    ("service", "role", "reached"),
    [
        (ZONE_GATEWAY, Role.ZONE_GATEWAY, {"shop.default.here"}),
        (
            ZONE_EGRESS,
            Role.EGRESS,
            {
                "api.default.west",
                "v2.api.default.west",
                "web.default.west",
                "v2.web.default.west",
            },
        ),
    ],
)
def test_clusters_are_called_in_small_letters(service: str, role: Role, reached: set[str]) -> None:
    names = [one.name for one in _rendered(service, role)[CLUSTER]]
    ours = (name for name in names if not name.startswith("outside:"))
    by_name = [name for name in ours if name.endswith(".internal.mesh.test")]
    assert len(by_name) == len(reached)
    assert {name.removesuffix(".internal.mesh.test") for name in by_name} == reached


def test_an_egress_gateway_has_each_name_once() -> None:
    asked = _asked(_rendered(ZONE_EGRESS, Role.EGRESS))
    assert asked == ["*.default.west.internal.mesh.test", "legacy.default.here.internal.mesh.test"]
