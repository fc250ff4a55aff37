"""``/v1/connect/intentions``: list, exact, match and check."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from mesh.embedded import entries, entry_fields, intentions, wire
from mesh.embedded.decode import json as parse
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.store import INTENTIONS, Transaction

_SIDES = {"source": "Source", "destination": "Destination"}
_OF_THE_PAIR = ("SourceName", "DestinationName", "SourceType", "SourceNS", "DestinationNS")


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    path = "/v1/connect/intentions"
    return [
        web.get(path, _list),
        web.get(f"{path}/check", _check),
        web.get(f"{path}/match", _match),
        web.get(f"{path}/exact", _get),
        web.put(f"{path}/exact", _put),
        web.delete(f"{path}/exact", _delete),
    ]


async def _list(request: web.Request) -> web.StreamResponse:
    return await exchange.read(request, exchange.topic_view(INTENTIONS, answer=intentions.every))


async def _check(request: web.Request) -> web.StreamResponse:
    core = exchange.context(request).core
    source, destination = _required(request, "source"), _required(request, "destination")
    verdict = intentions.allowed(
        core.store, source, destination, default=core.settings.default_allow
    )
    return exchange.json({"Allowed": verdict})


async def _match(request: web.Request) -> web.StreamResponse:
    by = _required(request, "by")
    if by not in _SIDES:
        raise RefusedError("'by' parameter must be one of 'source' or 'destination'")
    _required(request, "name")
    names = request.query.getall("name")
    store = exchange.context(request).core.store
    return exchange.json({name: intentions.matching(store, _SIDES[by], name) for name in names})


async def _get(request: web.Request) -> web.StreamResponse:
    source, destination = _required(request, "source"), _required(request, "destination")
    found = intentions.exact(exchange.context(request).core.store, source, destination)
    if found is None:
        raise RefusedError("Intention not found", HTTPStatus.NOT_FOUND)
    return exchange.json(found)


async def _put(request: web.Request) -> web.StreamResponse:
    source, destination = _required(request, "source"), _required(request, "destination")
    wanted = _source(parse(await request.read()), source)

    def change(tx: Transaction) -> None:
        former = tx.store.entries.get(intentions.KIND, destination)
        entries.put(tx, intentions.with_source(former, destination, wanted))

    await exchange.context(request).core.write(change)
    return exchange.json(value=True)


async def _delete(request: web.Request) -> web.StreamResponse:
    source, destination = _required(request, "source"), _required(request, "destination")

    def change(tx: Transaction) -> None:
        former = tx.store.entries.get(intentions.KIND, destination)
        if former is None or intentions.exact(tx.store, source, destination) is None:
            return
        left = intentions.without_source(former, source)
        if left is None:
            entries.delete(tx, intentions.KIND, destination)
        else:
            entries.put(tx, left)

    await exchange.context(request).core.write(change)
    return exchange.json(value=True)


def _source(raw: Any, name: str) -> wire.Json:
    if not isinstance(raw, dict):
        raise RefusedError(
            "Failed to parse intention body: expected an object", HTTPStatus.BAD_REQUEST
        )
    given = {key: value for key, value in raw.items() if key not in _OF_THE_PAIR}
    source, unknown = entry_fields.canonical_source({**given, "Name": name})
    if unknown:
        entries.refuse_keys(unknown)
    return source


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        raise RefusedError(f"required query parameter '{name}' not set")
    return value
