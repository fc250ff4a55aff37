"""The estate of the bench ``render``: a world and the needs of its proxies, from a size and a seed.

Pure.  Every service speaks HTTP and has a router with three routes, a resolver with two subsets,
and instances of both; every proxy is a service of its own and calls ``upstreams`` others and the
one that everybody calls, as intentions allow it.  On top stand policies: timeouts and retries for
the whole mesh, and for some services routes of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.services import Protocol
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.sources.consul.entries import parse_resolver, parse_router
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
    PoliciesChanged,
)
from mesh.world.reduce import reduce
from mesh.world.snapshot import World
from tests.bench.shape import SUBSETS, ZONE, Service, Shape, http_route

_ROUTED_BY_POLICY: Final = 50
"""How many services have a MeshHTTPRoute of their own."""
_FIRST_BIND: Final = 9_001


def changes(shape: Shape) -> Iterator[Change]:
    """Yield all that makes the world of ``shape``, policies included."""
    for service in everything(shape):
        versions = itertools.cycle({"version": version} for version in SUBSETS)
        instances = [replace(one, meta=next(versions)) for one in service.instances]
        yield InstancesChanged(service.name, tuple(instances))
    yield IntentionsChanged.of(
        Intention(caller, service.name, Action.ALLOW)
        for service in everything(shape)
        for caller in service.callers
    )
    yield entries(shape)
    yield policies(shape)


def everything(shape: Shape) -> tuple[Service, ...]:
    """Return the services, the one that everybody calls among them."""
    return (*shape.services.values(), shape.common)


def world(news: Iterable[Change]) -> World:
    """Return the world after ``news``."""
    found = World(ZONE, "bench.example")
    for change in news:
        found, _ = reduce(found, change)
    return found


def entries(shape: Shape, changed: str = "", prefix: str = "") -> ConfigEntriesChanged:
    """Return the entries; the first route of ``changed`` is for paths below ``prefix``."""
    names = [service.name for service in everything(shape)]
    routers = {name: parse_router(_router(name)) for name in names}
    if changed:
        routers[changed] = parse_router(_router(changed, prefix))
    return ConfigEntriesChanged(
        Entries(
            {name: ServiceDefaults(name, Protocol.HTTP) for name in names},
            routers=routers,
            resolvers={name: parse_resolver(_resolver(name)) for name in names},
        ),
        {},
    )


def policies(shape: Shape, changed: str = "", weight: int = 10) -> PoliciesChanged:
    """Return the policies; that of ``changed`` gives its second subset ``weight`` percent."""
    everything = {"targetRef": {"kind": "Mesh"}}
    timeout = {**everything, "default": {"http": {"requestTimeout": "10s"}}}
    again = {"http": {"numRetries": 3, "retryOn": ["GatewayError"]}}
    names = [*[*shape.services][: _ROUTED_BY_POLICY - 1], shape.common.name]
    documents = [
        {"type": "MeshTimeout", "name": "everywhere", "spec": {"to": [timeout]}},
        {
            "type": "MeshRetry",
            "name": "everywhere",
            "spec": {"to": [{**everything, "default": again}]},
        },
        *(http_route(name, weight if name == changed else 10) for name in names),
    ]
    read = [parse(document, KINDS) for document in documents]
    return PoliciesChanged({one.key: one for one in read})


def ring(shape: Shape) -> Iterator[ProxyNeed]:
    """Yield a need for each service, of which each is the one upstream of exactly one."""
    services = [*shape.services.values()]
    for service, following in zip(services, [*services[1:], services[0]], strict=True):
        upstreams = (Upstream(following.name, _FIRST_BIND),)
        yield replace(shape.need(service), upstreams=upstreams)


def _router(service: str, prefix: str = "/old") -> dict[str, Any]:
    to_new = {"Service": service, "ServiceSubset": "v2"}
    to_old = {"Service": service, "ServiceSubset": "v1", "NumRetries": 2, "RequestTimeout": "3s"}
    routes = (
        ({"PathPrefix": prefix}, to_old),
        ({"PathPrefix": "/new", "Methods": ["GET"]}, to_new),
        ({"Header": [{"Name": "x-tester", "Exact": "yes"}]}, {**to_new, "RequestTimeout": "3s"}),
    )
    return {
        "Kind": "service-router",
        "Name": service,
        "Routes": [{"Match": {"HTTP": match}, "Destination": to} for match, to in routes],
    }


def _resolver(service: str) -> dict[str, Any]:
    subsets = {name: {"Filter": f"Service.Meta.version == {name}"} for name in SUBSETS}
    return {"Kind": "service-resolver", "Name": service, "Subsets": subsets}
