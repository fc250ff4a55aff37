"""What a zone's gateway is sent, and when it is sent something else."""

from __future__ import annotations

from typing import Any

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, Snapshot, unpack
from mesh.model.entries import Entries, Resolver, Subset
from mesh.model.filters import Filter
from mesh.model.names import ZONE_GATEWAY
from mesh.model.proxies import Inbound, ProxyNeed, Role
from mesh.model.services import Health, Instance
from mesh.routing import bexpr
from mesh.world.changes import CatalogChanged, Change, ConfigEntriesChanged, InstancesChanged
from mesh.world.snapshot import World
from tests.render.gateways.moving import Moving, found, names

NEED = ProxyNeed(ZONE_GATEWAY, "west", Inbound("::", 10001, "::1", 10001), role=Role.ZONE_GATEWAY)
API = "api.default.west.internal.mesh.test"
V2: Filter = bexpr.parse("Service.Meta.version == v2")


def instance(name: str, address: str, **changed: Any) -> Instance:
    return Instance(name, "n1", address, 15006, **changed)


def west(*changes: Change) -> Moving:
    return Moving(World("west", "mesh.test"), *changes)


def endpoints(snapshot: Snapshot, name: str) -> list[str]:
    return [
        each.endpoint.address.socket_address.address
        for group in found(snapshot, ENDPOINTS)[name].endpoints
        for each in group.lb_endpoints
    ]


def test_it_has_a_way_to_each_service_and_subset() -> None:
    zone = west(
        CatalogChanged(frozenset({"api", "db", ZONE_GATEWAY})),
        ConfigEntriesChanged(
            Entries(resolvers={"api": Resolver("api", subsets={"v2": Subset(V2)})}), {}
        ),
        InstancesChanged(
            "api",
            (
                instance("api-1", "10.0.0.1", meta={"version": "v1"}),
                instance("api-2", "10.0.0.2", meta={"version": "v2"}),
                instance("api-3", "10.0.0.3", meta={"version": "v2"}, health=Health.CRITICAL),
            ),
        ),
        InstancesChanged("db", ()),
    )
    snapshot = zone.renderer.connect(1, NEED)
    db = "db.default.west.internal.mesh.test"
    assert names(snapshot, CLUSTER) == [API, db, f"v2.{API}"]
    assert endpoints(snapshot, API) == ["10.0.0.1", "10.0.0.2"]
    assert endpoints(snapshot, f"v2.{API}") == ["10.0.0.2"]
    assert endpoints(snapshot, db) == []
    assert zone.renderer.needed == {"api", "db"}
    (listener,) = snapshot[LISTENER]
    (chain,) = unpack(listener).filter_chains
    assert list(chain.filter_chain_match.server_names) == ["*.default.west.internal.mesh.test"]


def test_a_service_is_asked_for_in_small_letters() -> None:
    one, other = (instance("1", "10.0.0.1"),), (instance("2", "10.0.0.2"),)
    zone = west(
        CatalogChanged(frozenset({"API", "api"})),
        InstancesChanged("API", one),
        InstancesChanged("api", other),
    )
    snapshot = zone.renderer.connect(1, NEED)
    assert names(snapshot, CLUSTER) == [API]
    assert endpoints(snapshot, API) == ["10.0.0.1"]


def test_a_new_service_is_let_in_once_its_instances_are_known() -> None:
    first = InstancesChanged("api", (instance("api-1", "10.0.0.1"),))
    zone = west(CatalogChanged(frozenset({"api"})), first)
    before = zone.renderer.connect(1, NEED)
    assert not zone.say(CatalogChanged(frozenset({"api", "web"})))
    assert zone.renderer.needed == {"api", "web"}
    changed = zone.say(InstancesChanged("web", (instance("web-1", "10.0.0.5"),)))
    assert names(changed[1], CLUSTER) == [API, "web.default.west.internal.mesh.test"]
    # The listener is the same object: nobody's connection is drained for a new service.
    assert changed[1][LISTENER] is before[LISTENER]


def test_an_instance_that_goes_touches_its_endpoints_only() -> None:
    both = (instance("api-1", "10.0.0.1"), instance("api-2", "10.0.0.2"))
    zone = west(CatalogChanged(frozenset({"api"})), InstancesChanged("api", both))
    before = zone.renderer.connect(1, NEED)
    after = zone.say(InstancesChanged("api", both[1:]))[1]
    assert endpoints(after, API) == ["10.0.0.2"]
    assert after[CLUSTER] is before[CLUSTER]


def test_a_service_that_the_catalog_lost_is_let_in_while_its_instances_are_believed_in() -> None:
    first = InstancesChanged("api", (instance("api-1", "10.0.0.1"),))
    zone = west(CatalogChanged(frozenset({"api"})), first)
    zone.renderer.connect(1, NEED)
    assert not zone.say(CatalogChanged(frozenset()))
    assert zone.renderer.needed == {"api"}


def test_nothing_is_held_for_a_gateway_that_left() -> None:
    zone = west(CatalogChanged(frozenset({"api"})), InstancesChanged("api", ()))
    zone.renderer.connect(1, NEED)
    zone.renderer.disconnect(1)
    assert zone.renderer.is_empty
