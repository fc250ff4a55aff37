"""``/v1/health``.

The instances of a service are asked for by every proxy that calls it, so the plain question
is answered with bytes that are kept until the service changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from mesh.embedded import wire
from mesh.embedded.core import Core
from mesh.embedded.http import exchange
from mesh.embedded.http.catalog import node_meta
from mesh.embedded.http.exchange import Answer, View
from mesh.embedded.records import Check
from mesh.embedded.store import (
    CHECKS,
    Store,
    checks_topic,
    connect_topic,
    instance,
    node_checks_topic,
    service_topic,
)
from mesh.embedded.watchers import Watch

_FILTERS = ("tag", "node-meta", "near")
_FALSE = frozenset({"0", "f", "false", "False", "FALSE", "F"})

_KEPT: Final = 64
"""Answers kept ready for several who ask the same."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [
        web.get("/v1/health/service/{name}", _service),
        web.get("/v1/health/connect/{name}", _connect),
        web.get("/v1/health/checks/{name}", _checks),
        web.get("/v1/health/node/{node}", _node),
        web.get("/v1/health/state/{state}", _state),
    ]


async def _service(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    return await _instances(request, service_topic(name), "name", name)


async def _connect(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    return await _instances(request, connect_topic(name), "connect", name)


async def _instances(request: web.Request, topic: str, index: str, name: str) -> web.StreamResponse:
    core = exchange.context(request).core
    passing = "passing" in request.query and request.query["passing"] not in _FALSE
    query = request.query
    plain = not any(key in query for key in _FILTERS)
    tags, wanted = set(query.getall("tag", [])), node_meta(request)

    def render(store: Store) -> bytes:
        found = []
        for service in store.services.by(index, name):
            node = store.nodes.get(service.node)
            if node is None or not tags <= set(service.tags or ()):
                continue
            if not wanted.items() <= (node.meta or {}).items():
                continue
            checks = _checks_of(store, service.node, service.id)
            if passing and any(check.status != "passing" for check in checks):
                continue
            found.append(
                {
                    "Node": wire.node(node, core.settings.datacenter),
                    "Service": wire.service(service),
                    "Checks": [wire.check(check) for check in checks],
                }
            )
        return msgspec.json.encode(found)

    def answer(store: Store) -> Answer:
        key = (topic, "passing" if passing else "any")
        return Answer(_kept(core, key, topic, render) if plain else render(store))

    view = View(Watch(topics=(topic,)), lambda store: store.topic_index(topic), answer)
    return await exchange.read(request, view)


def _kept(core: Core, key: tuple[str, ...], topic: str, render: Callable[[Store], bytes]) -> bytes:
    index = core.store.topic_index(topic)
    known = core.rendered.get(key)
    if known is None or known[0] != index:
        known = core.rendered[key] = (index, render(core.store))
        if len(core.rendered) > _KEPT:
            # The oldest: what many wait for is asked for again at once.
            del core.rendered[next(iter(core.rendered))]
    return known[1]


def _checks_of(store: Store, node: str, service_id: str) -> list[Check]:
    own = store.checks.by("instance", instance(node, service_id)) if service_id else []
    return [*store.checks.by("instance", instance(node, "")), *own]


async def _checks(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]

    def answer(store: Store) -> list[wire.Json]:
        return [wire.check(check) for check in store.checks.by("service", name)]

    return await exchange.read(request, exchange.topic_view(checks_topic(name), answer=answer))


async def _node(request: web.Request) -> web.StreamResponse:
    node = request.match_info["node"]

    def answer(store: Store) -> list[wire.Json]:
        return [wire.check(check) for check in store.checks.by("node", node)]

    return await exchange.read(request, exchange.topic_view(node_checks_topic(node), answer=answer))


async def _state(request: web.Request) -> web.StreamResponse:
    state = request.match_info["state"]

    def answer(store: Store) -> list[wire.Json]:
        return [wire.check(check) for check in store.checks.all() if state in {"any", check.status}]

    return await exchange.read(request, exchange.topic_view(CHECKS, answer=answer))
