"""``/v1/config``."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from mesh.embedded import entries, wire
from mesh.embedded.decode import json as parse
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.http.exchange import Answer, View
from mesh.embedded.store import CONFIG, Store, Transaction
from mesh.embedded.watchers import Watch


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [
        web.put("/v1/config", _put),
        web.get("/v1/config/", _all),
        web.get("/v1/config/{kind}", _kind),
        web.get("/v1/config/{kind}/{name}", _one),
        web.delete("/v1/config/{kind}", _delete_nothing),
        web.delete("/v1/config/{kind}/{name}", _delete),
    ]


async def _put(request: web.Request) -> web.StreamResponse:
    cas = exchange.number(request, "cas")
    raw = await request.read()
    entry = entries.read(parse(raw, what="Bad request: Request decoding failed"))

    def change(tx: Transaction) -> bool:
        if cas is not None:
            return entries.put_if(tx, entry, cas)
        entries.put(tx, entry)
        return True

    return exchange.json(await exchange.context(request).core.write(change))


async def _all(request: web.Request) -> web.StreamResponse:
    view = exchange.topic_view(
        CONFIG, answer=lambda store: [wire.entry(entry) for entry in store.entries.all()]
    )
    return await exchange.read(request, view)


async def _kind(request: web.Request) -> web.StreamResponse:
    kind = entries.known_kind(request.match_info["kind"])

    def answer(store: Store) -> list[wire.Json]:
        return [wire.entry(entry) for entry in store.entries.by("kind", kind)]

    return await exchange.read(request, exchange.topic_view(CONFIG, answer=answer))


async def _one(request: web.Request) -> web.StreamResponse:
    kind, name = entries.known_kind(request.match_info["kind"]), request.match_info["name"]
    found = exchange.topic_view(
        CONFIG,
        answer=lambda store: (
            wire.entry(entry) if (entry := store.entries.get(kind, name)) else None
        ),
    )

    def answer(store: Store) -> Answer:
        if store.entries.get(kind, name) is None:
            text = f'Config entry not found for "{kind}" / "{name}"'
            return Answer(text.encode(), HTTPStatus.NOT_FOUND, "text/plain")
        return found.answer(store)

    return await exchange.read(request, View(Watch(topics=(CONFIG,)), found.index, answer))


async def _delete_nothing(_: web.Request) -> web.Response:
    raise RefusedError("Must provide both a kind and name to delete", HTTPStatus.NOT_FOUND)


async def _delete(request: web.Request) -> web.StreamResponse:
    kind = entries.known_kind(request.match_info["kind"], HTTPStatus.BAD_REQUEST)
    name = request.match_info["name"]
    await exchange.context(request).core.write(lambda tx: entries.delete(tx, kind, name))
    return exchange.json({})
