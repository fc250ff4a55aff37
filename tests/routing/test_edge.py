"""What an edge gateway serves where an entry says: every service."""

from __future__ import annotations

from mesh.model.edge import ANY_HOST, EVERY_SERVICE, Edge, EdgeListener, EdgeProtocol, Exposed
from mesh.model.entries import Entries, ProxyDefaults, ServiceDefaults
from mesh.model.names import ZONE_EGRESS, ZONE_GATEWAY
from mesh.model.services import Protocol
from mesh.policies.selection import NOTHING_SELECTED
from mesh.routing.edge import served, services
from mesh.world.snapshot import World


def _world(*catalog: str, exposed: tuple[Exposed, ...] = (Exposed(EVERY_SERVICE),)) -> World:
    edge = Edge("edge", (EdgeListener(80, EdgeProtocol.HTTP, exposed),))
    entries = Entries(
        {"db": ServiceDefaults("db", Protocol.TCP)},
        ProxyDefaults(Protocol.HTTP),
        edges={"edge": edge, "other-edge": Edge("other-edge")},
    )
    return World("here", "mesh.test", catalog=frozenset(catalog), entries=entries)


def test_every_service_is_none_of_the_gateways() -> None:
    world = _world("web", "api", "db", "edge", "other-edge", ZONE_GATEWAY, ZONE_EGRESS)
    assert services(served(world, NOTHING_SELECTED, "edge")) == ("api", "web")


def test_a_service_that_is_named_keeps_its_own_hosts() -> None:
    world = _world("web", "api", exposed=(Exposed("web"), Exposed(EVERY_SERVICE)))
    (listener,) = served(world, NOTHING_SELECTED, "edge").listeners
    assert {one.service: one.hosts for one in listener.services} == {
        "web": (ANY_HOST,),
        "api": ("api.ingress.*",),
    }
