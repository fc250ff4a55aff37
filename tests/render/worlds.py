"""A small world: web calls api and db."""

from __future__ import annotations

from typing import Any

from mesh.envoy.resource import Resource
from mesh.model.entries import (
    Entries,
    ServiceDefaults,
)
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    InstancesChanged,
)
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

WEB = ProxyNeed(
    "web",
    "dc1",
    Inbound("127.0.0.1", 15006, "127.0.0.1", 8080),
    (Upstream("api", 9001), Upstream("db", 9002)),
)


API = ProxyNeed("api", "dc1", Inbound("127.0.0.1", 15007, "127.0.0.1", 8081))


ONE = Instance("api-1", "n1", "127.0.0.1", 15007)


HTTP_API = ConfigEntriesChanged(Entries({"api": ServiceDefaults("api", Protocol.HTTP)}), {})


ALLOW = Intention("web", "api", Action.ALLOW)


def world_after(*changes: Change) -> World:
    world = World("dc1", "td")
    for change in changes:
        world, _ = reduce(world, change)
    return world


def move(renderer: Renderer, change: Change) -> dict[int, Any]:
    return dict(renderer.advance(*reduce(renderer.world, change)))


def names(resources: tuple[Resource, ...]) -> list[str]:
    return [resource.name for resource in resources]


KNOWN = (InstancesChanged("api", (ONE,)), InstancesChanged("db", ()), HTTP_API)


OUTSIDE = """
type: MeshExternalService
name: db
spec:
  match: {protocol: http}
  endpoints: [{address: db.example.com, port: 443}]
  tls: {}
"""
