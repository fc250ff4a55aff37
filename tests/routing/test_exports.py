"""Which services others are told of, and may reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.model.names import ZONE_GATEWAY
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Exported, Gateway, Zone
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.routing.exports import exported, exports
from mesh.routing.memo import Compositions
from mesh.sources.zones.document import ZoneDocument, meant_for
from mesh.world.snapshot import World

PARTNER = Zone(
    "partner",
    "partner.example",
    "roots",
    (Gateway("192.0.2.1", 10001),),
    {"api": Exported(Protocol.HTTP, 2)},
    peer=True,
)
EAST = Zone("east", "mesh.test", "roots")


def world(*services: dict[str, object], zones: tuple[Zone, ...] = (PARTNER,)) -> World:
    names = ("api", "billing", "db")
    found = World(
        "west",
        "mesh.test",
        catalog=frozenset({*names, ZONE_GATEWAY}),
        instances={name: (Instance(name, "n", "10.0.0.1", 1),) for name in names},
        zones={zone.name: zone for zone in zones},
    )
    if not services:
        return found
    raw = {"type": "MeshExportedServices", "name": "x", "spec": {"services": list(services)}}
    document = parse(raw, KINDS)
    return replace(found, policies={document.key: document})


def to(name: str, *consumers: tuple[str, str]) -> dict[str, object]:
    return {"name": name, "consumers": [{kind: who} for kind, who in consumers]}


def test_without_a_word_a_peer_gets_nothing_and_the_federation_everything() -> None:
    assert exports(world(), peer="partner") == {}
    assert exported(world()) == frozenset()
    assert set(exports(world(zones=()))) == {"api", "billing", "db"}
    assert exported(world(zones=())) == {"api", "billing", "db"}
    assert exported(world(zones=(PARTNER, EAST))) == {"api", "billing", "db"}


def test_a_peer_gets_what_names_it() -> None:
    found = world(to("api", ("peer", "partner")), to("db", ("peer", "other")))
    assert set(exports(found, peer="partner")) == {"api"}
    # Nobody of the name "other" is known: there is nobody to let in for.
    assert exported(found) == {"api"}
    assert exports(found, peer="partner")["api"].zones == ()
    assert set(exports(world(to("*", ("peer", "partner"))), peer="partner")) == {
        "api",
        "billing",
        "db",
    }


def test_zones_of_the_federation_are_told_what_is_meant_for_them() -> None:
    found = world(
        to("*", ("zone", "east")),
        to("billing", ("zone", "north")),
        to("api", ("zone", "*"), ("peer", "partner")),
        zones=(PARTNER, EAST),
    )
    document = ZoneDocument(Zone("west", "mesh.test", "x", services=exports(found)), "f")
    told = {
        zone: set(meant_for(document, zone).zone.services) for zone in ("east", "north", "south")
    }
    assert told == {"east": {"api", "db"}, "north": {"api", "billing"}, "south": {"api"}}


@pytest.mark.parametrize(
    "wrong",
    [
        to("api"),
        to("a b", ("zone", "east")),
        to("api", ("peer", "*")),
        to("api", ("peer", "No")),
        {"name": "api", "consumers": [{"peer": "a", "zone": "b"}]},
        {"name": "api", "consumers": [{}]},
        to("api", ("peer", "a"), ("peer", "a")),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        world(wrong)


def test_a_peers_service_is_reached_by_name_and_stands_in_for_nobody() -> None:
    found = world()
    known = Compositions(found)
    need = ProxyNeed("web", "west", None, (Upstream("api", 1), Upstream("api", 2, zone="partner")))
    said = known.selection(need)
    (ours,) = known.traffic("web", said, "api").traffic.destinations.values()
    assert ours.zones == ()
    pinned = known.traffic("web", said, "api@partner").traffic
    (theirs,) = pinned.destinations.values()
    assert theirs.zones == ("partner",)
    # What it speaks the peer says, not our own entries.
    assert (theirs.protocol, ours.protocol) == (Protocol.HTTP, Protocol.TCP)
