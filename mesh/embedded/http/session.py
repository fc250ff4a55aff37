"""``/v1/session``."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from aiohttp import web

from mesh.embedded import durations, sessions, wire
from mesh.embedded.core import NODE_NAME
from mesh.embedded.decode import Body
from mesh.embedded.decode import json as parse
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.records import Session
from mesh.embedded.store import SESSIONS, Store

_LONGEST_TTL = 86_400.0
_LONGEST_LOCK_DELAY = 60.0
_DEFAULT_LOCK_DELAY = 15.0


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [
        web.put("/v1/session/create", _create),
        web.put("/v1/session/destroy/{id}", _destroy),
        web.put("/v1/session/renew/{id}", _renew),
        web.get("/v1/session/info/{id}", _info),
        web.get("/v1/session/list", _list),
        web.get("/v1/session/node/{node}", _of_node),
    ]


async def _create(request: web.Request) -> web.StreamResponse:
    context = exchange.context(request)
    raw = await request.read()
    body = Body(parse(raw) if raw else {})
    checks = body.texts("NodeChecks")
    if checks is None:
        checks = sessions.default_checks()
    # "Checks" is the field's former name; what it lists comes on top.
    checks = list(dict.fromkeys([*checks, *(body.texts("Checks") or ())]))
    session = Session(
        id=str(uuid.uuid4()),
        node=body.text("Node") or NODE_NAME,
        name=body.text("Name"),
        lock_delay=_lock_delay(body),
        behavior=body.text("Behavior") or "release",
        ttl=_ttl(body.text("TTL"), context.core.settings.shortest_session_ttl),
        node_checks=checks,
        service_checks=body.any("ServiceChecks"),
    )
    await context.core.write(lambda tx: sessions.create(tx, session))
    return exchange.json({"ID": session.id})


async def _destroy(request: web.Request) -> web.StreamResponse:
    session_id = sessions.checked_id(request.match_info["id"])
    await exchange.context(request).core.write(lambda tx: sessions.destroy(tx, session_id))
    return exchange.json(value=True)


async def _renew(request: web.Request) -> web.StreamResponse:
    context = exchange.context(request)
    session_id = sessions.checked_id(request.match_info["id"])
    session = context.core.store.sessions.get(session_id)
    if session is None:
        raise RefusedError(f"Session id '{session_id}' not found", HTTPStatus.NOT_FOUND)
    context.timers.renew(session)
    return exchange.json([wire.session(session)])


async def _info(request: web.Request) -> web.StreamResponse:
    session_id = sessions.checked_id(request.match_info["id"])

    def answer(store: Store) -> list[wire.Json]:
        session = store.sessions.get(session_id)
        return [wire.session(session)] if session else []

    return await exchange.read(request, exchange.topic_view(SESSIONS, answer=answer))


async def _list(request: web.Request) -> web.StreamResponse:
    view = exchange.topic_view(
        SESSIONS, answer=lambda store: [wire.session(each) for each in store.sessions.all()]
    )
    return await exchange.read(request, view)


async def _of_node(request: web.Request) -> web.StreamResponse:
    node = request.match_info["node"]

    def answer(store: Store) -> list[wire.Json]:
        return [wire.session(each) for each in store.sessions.by("node", node)]

    return await exchange.read(request, exchange.topic_view(SESSIONS, answer=answer))


def _lock_delay(body: Body) -> float:
    if "LockDelay" not in body:
        return _DEFAULT_LOCK_DELAY
    value = body.any("LockDelay")
    # Consul takes small numbers for seconds, large ones for nanoseconds.
    if isinstance(value, int) and not isinstance(value, bool) and value < 1 / durations.NANOSECOND:
        return float(min(value, _LONGEST_LOCK_DELAY))
    return min(body.seconds("LockDelay"), _LONGEST_LOCK_DELAY)


def _ttl(text: str, shortest: float) -> str:
    if not text:
        return ""
    try:
        seconds = durations.parse(text)
    except durations.InvalidDurationError as error:
        raise RefusedError(f"Session TTL '{text}' invalid: {error}") from error
    if seconds and not shortest <= seconds <= _LONGEST_TTL:
        nanoseconds = round(seconds / durations.NANOSECOND)
        raise RefusedError(
            f"Invalid Session TTL '{nanoseconds}', must be between [{shortest:g}s=24h0m0s]"
        )
    return text if seconds else ""
