"""``/v1/catalog``."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from mesh.embedded import catalog, definitions, wire
from mesh.embedded.decode import Body
from mesh.embedded.decode import json as parse
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.records import Check, Service
from mesh.embedded.store import (
    NODES,
    SERVICES,
    Store,
    Transaction,
    connect_topic,
    node_topic,
    service_topic,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [
        web.put("/v1/catalog/register", _register),
        web.put("/v1/catalog/deregister", _deregister),
        web.get("/v1/catalog/datacenters", _datacenters),
        web.get("/v1/catalog/nodes", _nodes),
        web.get("/v1/catalog/node/{node}", _node),
        web.get("/v1/catalog/services", _services),
        web.get("/v1/catalog/service/{name}", _service),
        web.get("/v1/catalog/connect/{name}", _connect),
    ]


async def _register(request: web.Request) -> web.StreamResponse:
    context = exchange.context(request)
    body = Body(parse(await request.read()))
    if body.text("Datacenter", context.datacenter) != context.datacenter:
        raise RefusedError("No path to datacenter")
    change = registration(body)
    await context.core.write(change)
    return exchange.json(value=True)


def registration(body: Body) -> Callable[[Transaction], None]:
    """Read a registration and return what it does."""
    node = definitions.node(body)
    skip = body.flag("SkipNodeUpdate")
    if not node.name:
        raise RefusedError("Must provide node")
    if not node.address and not skip:
        raise RefusedError("Must provide address if SkipNodeUpdate is not set")
    service: Service | None = None
    if "Service" in body:
        service = definitions.service(body.body("Service"), node=node.name)
        if not body.body("Service").text("Service"):
            raise RefusedError("Must provide service name with ID")
    bodies = [*([body.body("Check")] if "Check" in body else []), *body.bodies("Checks")]
    checks = [definitions.check(each, node.name) for each in bodies]

    def change(tx: Transaction) -> None:
        if not skip or tx.store.nodes.get(node.name) is None:
            catalog.put_node(tx, node)
        if service is not None:
            catalog.put_service(tx, service)
        for check in checks:
            _put_check(tx, check)

    return change


def _put_check(tx: Transaction, check: Check) -> None:
    if check.service_id and tx.store.services.get(check.node, check.service_id) is None:
        raise RefusedError(
            f'failed inserting check: Missing service registration on node "{check.node}"'
        )
    catalog.put_check(tx, check)


async def _deregister(request: web.Request) -> web.StreamResponse:
    body = Body(parse(await request.read()))
    node, service, check = body.text("Node"), body.text("ServiceID"), body.text("CheckID")
    if not node:
        raise RefusedError("Must provide node")

    def change(tx: Transaction) -> None:
        if service:
            catalog.delete_service(tx, node, service)
        elif check:
            catalog.delete_check(tx, node, check)
        else:
            catalog.delete_node(tx, node)

    await exchange.context(request).core.write(change)
    return exchange.json(value=True)


async def _datacenters(request: web.Request) -> web.StreamResponse:
    settings = exchange.context(request).core.settings
    return exchange.json([settings.datacenter, *sorted(settings.neighbours)])


async def _nodes(request: web.Request) -> web.StreamResponse:
    datacenter, wanted = exchange.context(request).datacenter, node_meta(request)

    def answer(store: Store) -> list[wire.Json]:
        return [
            wire.node(node, datacenter)
            for node in store.nodes.all()
            if wanted.items() <= (node.meta or {}).items()
        ]

    return await exchange.read(request, exchange.topic_view(NODES, answer=answer))


async def _node(request: web.Request) -> web.StreamResponse:
    datacenter, name = exchange.context(request).datacenter, request.match_info["node"]

    def answer(store: Store) -> wire.Json | None:
        node = store.nodes.get(name)
        if node is None:
            return None
        services = {each.id: wire.service(each) for each in store.services.by("node", name)}
        return {"Node": wire.node(node, datacenter), "Services": services}

    return await exchange.read(request, exchange.topic_view(node_topic(name), answer=answer))


async def _services(request: web.Request) -> web.StreamResponse:
    wanted = node_meta(request)

    def answer(store: Store) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for service in store.services.rows.values():
            if wanted:
                node = store.nodes.get(service.node)
                if not wanted.items() <= ((node.meta if node else None) or {}).items():
                    continue
            tags = found.get(service.name)
            if tags is None:
                tags = found[service.name] = set()
            if service.tags:
                tags.update(service.tags)
        return {name: sorted(found[name]) for name in sorted(found)}

    return await exchange.read(request, exchange.topic_view(SERVICES, answer=answer))


async def _service(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    return await _instances(request, service_topic(name), "name", name)


async def _connect(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    return await _instances(request, connect_topic(name), "connect", name)


async def _instances(request: web.Request, topic: str, index: str, name: str) -> web.StreamResponse:
    datacenter, tags = exchange.context(request).datacenter, request.query.getall("tag", [])
    wanted = node_meta(request)

    def answer(store: Store) -> list[wire.Json]:
        found = []
        for service in store.services.by(index, name):
            node = store.nodes.get(service.node)
            if node is None or not wanted.items() <= (node.meta or {}).items():
                continue
            if set(tags) <= set(service.tags or ()):
                found.append(wire.catalog_service(service, node, datacenter))
        return found

    return await exchange.read(request, exchange.topic_view(topic, answer=answer))


def node_meta(request: web.Request) -> dict[str, str]:
    """Read the node metadata that the caller asks for."""
    pairs = (text.partition(":") for text in request.query.getall("node-meta", []))
    return {key: value for key, _, value in pairs}
