"""``/v1/kv``."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import web

from mesh.embedded import kv, sessions, wire
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.http.exchange import Answer, View
from mesh.embedded.records import Pair
from mesh.embedded.store import Store, Transaction
from mesh.embedded.watchers import Watch

_LARGEST_VALUE = 512 * 1024
_MISSING = Answer(b"", HTTPStatus.NOT_FOUND)
_encode = msgspec.json.encode


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    path = "/v1/kv/{key:.*}"
    return [web.get(path, _get), web.put(path, _put), web.delete(path, _delete)]


async def _get(request: web.Request) -> web.StreamResponse:
    key, query = request.match_info["key"], request.query
    if "keys" in query:
        return await exchange.read(request, _names(key, query.get("separator", "")))
    if "recurse" in query:
        return await exchange.read(request, _tree(key))
    _require_key(key)
    return await exchange.read(request, _one(key, raw="raw" in query))


def _one(key: str, *, raw: bool) -> View:
    def answer(store: Store) -> Answer:
        pair = store.kv.get(key)
        if pair is None:
            return _MISSING
        if raw:
            return Answer(pair.value, content_type="text/plain")
        return Answer(_encode([wire.pair(pair)]))

    return View(Watch(key=key), lambda store: store.key_index(key), answer)


def _tree(prefix: str) -> View:
    def answer(store: Store) -> Answer:
        found = [wire.pair(pair) for pair in store.kv.scan(prefix)]
        return Answer(_encode(found)) if found else _MISSING

    return View(Watch(prefix=prefix), lambda store: store.prefix_index(prefix), answer)


def _names(prefix: str, separator: str) -> View:
    def answer(store: Store) -> Answer:
        names = (pair.name for pair in store.kv.scan(prefix))
        found = kv.fold(names, prefix, separator)
        return Answer(_encode(found)) if found else _MISSING

    return View(Watch(prefix=prefix), lambda store: store.prefix_index(prefix), answer)


async def _put(request: web.Request) -> web.StreamResponse:
    key, query = request.match_info["key"], request.query
    _require_key(key)
    conditions = [name for name in ("acquire", "cas", "release") if name in query]
    if len(conditions) > 1:
        shown = "&".join(f"{name}={query[name]}" for name in conditions)
        raise RefusedError(f"Conflicting flags: {shown}", HTTPStatus.BAD_REQUEST)
    cas, flags = exchange.number(request, "cas"), exchange.number(request, "flags")
    value = await request.read()
    if len(value) > _LARGEST_VALUE:
        raise RefusedError(
            f"Request body({len(value)} bytes) too large, max size: {_LARGEST_VALUE} bytes.",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
    pair = Pair(name=key, value=value, flags=flags or 0)
    core = exchange.context(request).core
    if "acquire" in query and core.is_lock_delayed(key):
        return exchange.json(value=False)

    def change(tx: Transaction) -> bool:
        if cas is not None:
            return kv.put_if(tx, pair, cas) is not None
        if "acquire" in query:
            return kv.lock(tx, pair, _session(query["acquire"])) is not None
        if "release" in query:
            return kv.unlock(tx, pair, _session(query["release"])) is not None
        kv.put(tx, pair)
        return True

    return exchange.json(await core.write(change))


async def _delete(request: web.Request) -> web.StreamResponse:
    key = request.match_info["key"]
    cas = exchange.number(request, "cas")

    def change(tx: Transaction) -> bool:
        if "recurse" in request.query:
            kv.delete_tree(tx, key)
            return True
        _require_key(key)
        if cas is not None:
            return kv.delete_if(tx, key, cas)
        kv.delete(tx, key)
        return True

    return exchange.json(await exchange.context(request).core.write(change))


def _require_key(key: str) -> None:
    if not key:
        raise RefusedError("Missing key name", HTTPStatus.BAD_REQUEST)


def _session(value: str) -> str:
    if not value:
        raise RefusedError("missing session")
    return sessions.checked_id(value)
