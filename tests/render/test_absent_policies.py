"""A policy that is absent costs nothing: no filter, no route entry, nothing per route."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from google.protobuf.any_pb2 import Any as Packed

from mesh.envoy.resource import EXTENSION, LISTENER, ROUTE, Snapshot, unpack
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import Action, Intention, PathMatch, PathMatchKind, Permission
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
)
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

NEED = ProxyNeed(
    "web",
    "dc1",
    Inbound("127.0.0.1", 15006, "127.0.0.1", 8080),
    (Upstream("api", 9001), Upstream("orders", 9002), Upstream("db", 9003)),
)
SPEAK_HTTP = ("web", "api", "orders")
ALLOWED = tuple(Intention("web", name, Action.ALLOW) for name in ("api", "orders", "db"))
PERMISSION = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/v1"))
GATES = {"inbound-connections", "inbound-requests"}
"""The filters of intentions, without which nothing would be safe."""
_Manager = http_connection_manager_pb2.HttpConnectionManager


def snapshot(*to_web: Intention) -> Snapshot:
    """Return what a proxy of ``web`` gets in a world without a single policy."""
    speak = {name: ServiceDefaults(name, Protocol.HTTP) for name in SPEAK_HTTP}
    changes: tuple[Change, ...] = (
        ConfigEntriesChanged(Entries(speak), {}),
        IntentionsChanged.of((*ALLOWED, *to_web)),
        *(
            InstancesChanged(name, (Instance(f"{name}-1", "n1", "127.0.0.1", 15007),))
            for name in ("api", "orders", "db")
        ),
    )
    world = World("dc1", "td")
    for change in changes:
        world, _ = reduce(world, change)
    return Renderer(world).connect(1, NEED)


def chains(found: Snapshot) -> dict[str, list[str]]:
    """Return the network filters of each listener, by its name."""
    listeners = [unpack(resource) for resource in found[LISTENER]]
    return {
        listener.name: [each.name for chain in listener.filter_chains for each in chain.filters]
        for listener in listeners
    }


def managers(found: Snapshot) -> Iterator[tuple[str, Any]]:
    """Yield each HTTP connection manager with its listener's name."""
    for listener in map(unpack, found[LISTENER]):
        for chain in listener.filter_chains:
            for each in chain.filters:
                if each.typed_config.Is(_Manager.DESCRIPTOR):
                    yield listener.name, _Manager.FromString(each.typed_config.value)


def said_per_filter(message: Any) -> Iterator[str]:
    """Yield the keys of every ``typed_per_filter_config`` anywhere in ``message``."""
    if isinstance(message, Packed):
        if message.Is(_Manager.DESCRIPTOR):
            yield from said_per_filter(_Manager.FromString(message.value))
        return
    for field, value in message.ListFields():
        if field.name == "typed_per_filter_config":
            yield from value
        elif field.type == field.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                continue
            for one in value if field.is_repeated else [value]:
                yield from said_per_filter(one)


def test_an_outbound_http_listener_has_the_router_alone() -> None:
    found = dict(managers(snapshot()))
    assert {name: [each.name for each in one.http_filters] for name, one in found.items()} == {
        f"outbound:{service}:127.0.0.1:{port}": ["envoy.filters.http.router"]
        for service, port in (("api", 9001), ("orders", 9002))
    }


def test_a_listener_has_one_network_filter_beside_the_gate_of_intentions() -> None:
    for filters in chains(snapshot(Intention("api", "web", Action.ALLOW))).values():
        assert len([name for name in filters if name not in GATES]) == 1


def test_an_inbound_side_has_only_what_intentions_need() -> None:
    by_connection = snapshot(Intention("api", "web", Action.ALLOW))
    assert [one.name for one in by_connection[EXTENSION]] == ["inbound-connections"]
    assert "inbound" not in dict(managers(by_connection))
    by_request = snapshot(Intention("api", "web", Action.ALLOW, permissions=(PERMISSION,)))
    assert [one.name for one in by_request[EXTENSION]] == ["inbound-requests"]
    filters = [each.name for each in dict(managers(by_request))["inbound"].http_filters]
    assert filters == ["inbound-requests", "envoy.filters.http.router"]


def test_a_service_has_one_route_that_takes_all() -> None:
    tables = {resource.name: unpack(resource) for resource in snapshot()[ROUTE]}
    assert tables.keys() == {"api", "orders"}
    for name, table in tables.items():
        (host,) = table.virtual_hosts
        (route,) = host.routes
        assert (route.match.prefix, route.route.cluster) == ("/", name)
        assert not route.match.headers
        assert not route.match.query_parameters


def test_nothing_is_said_per_route() -> None:
    for to_web in ((), (Intention("api", "web", Action.ALLOW, permissions=(PERMISSION,)),)):
        for resources in snapshot(*to_web).values():
            for resource in resources:
                assert list(said_per_filter(unpack(resource))) == []
