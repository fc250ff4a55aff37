"""What all routes share: the context, query options, blocking reads, writes, refusals.

A read names what it depends on (a :class:`~mesh.embedded.watchers.Watch`), the index of that,
and how to write the answer; :func:`read` does the waiting.  A refusal raised anywhere becomes
Consul's status and plain text in :func:`boundary`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from mesh.embedded import durations
from mesh.embedded.checks import CheckRunner
from mesh.embedded.core import Core
from mesh.embedded.errors import RefusedError
from mesh.embedded.http.neighbours import forward
from mesh.embedded.store import Store
from mesh.embedded.timers import SessionTimers
from mesh.embedded.watchers import Watch

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DEFAULT_WAIT = 300.0
_LONGEST_WAIT = 600.0
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Context:
    """The running parts that routes speak to."""

    core: Core
    runner: CheckRunner
    timers: SessionTimers

    @property
    def datacenter(self) -> str:
        """The one datacenter there is."""
        return self.core.settings.datacenter


CONTEXT = web.AppKey("context", Context)


def context(request: web.Request) -> Context:
    """Return the context of the application that serves ``request``."""
    return request.app[CONTEXT]


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a read."""

    body: bytes
    status: int = 200
    content_type: str = _JSON


@dataclass(frozen=True, slots=True)
class View:
    """A question about the store that can be asked again."""

    watch: Watch
    index: Callable[[Store], int]
    answer: Callable[[Store], Answer]


def topic_view(*topics: str, answer: Callable[[Store], Any]) -> View:
    """Return a view of ``topics`` that answers with a JSON value."""
    return View(
        Watch(topics=topics),
        lambda store: store.topic_index(*topics),
        lambda store: Answer(_encode(answer(store))),
    )


async def read(request: web.Request, view: View) -> web.StreamResponse:
    """Answer ``view``, once it is newer than the ``index`` that the client has seen."""
    core = context(request).core
    seen, wait = _blocking(request)
    if seen:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while view.index(core.store) <= seen and not core.closing:
            left = deadline - loop.time()
            if left <= 0:
                break
            await core.watchers.wait(view.watch, left)
    index = view.index(core.store)
    answer = view.answer(core.store)
    response = web.StreamResponse(
        status=answer.status,
        headers={
            "Content-Type": answer.content_type,
            "X-Consul-Index": str(index),
            "X-Consul-Knownleader": "true",
            "X-Consul-Lastcontact": "0",
            "X-Consul-Default-Acl-Policy": "allow" if core.settings.default_allow else "deny",
        },
    )
    # Written here, because aiohttp keeps a finished response until the connection's next one,
    # which for a blocking query is minutes: of a thousand waiting clients, a thousand bodies.
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body)
    await response.write_eof()
    return response


def json(value: Any, status: int = 200) -> web.Response:
    """Answer with a JSON value."""
    return web.Response(body=_encode(value), status=status, content_type=_JSON)


def done() -> web.Response:
    """Answer that it was done and that there is nothing to say."""
    return web.Response()


def number(request: web.Request, name: str) -> int | None:
    """Read an unsigned query parameter, None where there is none."""
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise RefusedError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def _blocking(request: web.Request) -> tuple[int, float]:
    query = request.query
    for other in ("stale", "cached"):
        if other in query and "consistent" in query:
            raise RefusedError(
                f"Cannot specify ?{other} with ?consistent, conflicting semantics.",
                HTTPStatus.BAD_REQUEST,
            )
    if "filter" in query:
        raise RefusedError(
            "?filter is not supported by the embedded registry: filter the answer",
            HTTPStatus.BAD_REQUEST,
        )
    index = query.get("index", "0")
    if not index.isascii() or not index.isdigit():
        raise RefusedError("Invalid index", HTTPStatus.BAD_REQUEST)
    try:
        wait = durations.parse(query["wait"]) if "wait" in query else _DEFAULT_WAIT
    except durations.InvalidDurationError as error:
        raise RefusedError("Invalid wait time", HTTPStatus.BAD_REQUEST) from error
    return int(index), min(wait, _LONGEST_WAIT)


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may, and turn every refusal into an answer."""
    try:
        neighbour = _admit(request)
        if neighbour:
            return await forward(request, neighbour)
        return await handler(request)
    except RefusedError as error:
        return web.Response(status=error.status, text=str(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ",".join(sorted(error.allowed_methods))
        text = f"method {request.method} not allowed"
        return web.Response(status=error.status, text=text, headers={"Allow": allowed})
    except web.HTTPNotFound:
        return web.Response(status=404)


def _admit(request: web.Request) -> str:
    """Return the URL of the neighbour that is asked; empty if it is this registry."""
    settings = context(request).core.settings
    if settings.token and not _has_token(request, settings.token):
        raise RefusedError("Permission denied", HTTPStatus.FORBIDDEN)
    asked = request.query.get("dc", "")
    if asked in {"", settings.datacenter}:
        return ""
    if asked not in settings.neighbours:
        raise RefusedError("No path to datacenter")
    return settings.neighbours[asked]


def _has_token(request: web.Request, token: str) -> bool:
    given = request.headers.get("X-Consul-Token") or request.query.get("token", "")
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if not given and scheme.lower() == "bearer":
        given = bearer.strip()
    return hmac.compare_digest(given.encode(), token.encode())
