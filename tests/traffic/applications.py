"""The applications of the traffic tests: servers in this process that a test can steer.

Each instance counts what reaches it and answers as its ``behaviour`` says, so that a test can
make one fail, hang or slow down without the mesh knowing why.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web

from mesh.demo.loopback import HOST

METHODS = ("Greet", "Part")
"""What the gRPC application ``demo.Greeter`` answers."""


@dataclass(slots=True)
class Behaviour:
    """How an instance answers.  ``failures`` is how many of the next requests get ``status``.

    With ``drops`` those requests are not answered at all: the connection is closed.  ``paths``
    have a status of their own, whatever else holds.
    """

    status: int = 200
    failures: int = 0
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    grpc_status: grpc.StatusCode | None = None
    drops: bool = False
    paths: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Application:
    """One instance: its name, what it does, and what it has seen."""

    name: str
    port: int
    behaviour: Behaviour = field(default_factory=Behaviour)
    seen: Counter[str] = field(default_factory=Counter)
    """How often each path (or gRPC method, or ``connection``) was asked for."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The latest requests, as :func:`http` answers them."""
    active: int = 0
    busiest: int = 0
    """How many requests there are at a time, and were at most."""
    runner: web.AppRunner | None = None
    """What listens, for HTTP."""

    def reset(self) -> None:
        """Forget what was seen and behave again."""
        self.behaviour = Behaviour()
        self.seen.clear()
        self.requests.clear()
        self.busiest = self.active

    @property
    def total(self) -> int:
        """How many requests or connections there were."""
        return self.seen.total()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse new connections within the block (HTTP only)."""
        assert self.runner is not None
        for site in self.runner.sites:
            await site.stop()
        try:
            yield
        finally:
            await web.TCPSite(self.runner, HOST, self.port).start()

    async def hold(self) -> bool:
        """Count a request that comes in, wait as told, and say whether it shall fail."""
        self.active += 1
        self.busiest = max(self.busiest, self.active)
        try:
            if self.behaviour.delay:
                await asyncio.sleep(self.behaviour.delay)
        finally:
            self.active -= 1
        if self.behaviour.failures:
            self.behaviour.failures -= 1
            return True
        return False


@asynccontextmanager
async def http(
    app: Application, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Application]:
    """HTTP/1.1, perhaps over TLS: answers its name and what it was asked, as JSON."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.text()
        asked = {
            "instance": app.name,
            "method": request.method,
            "path": request.path_qs,
            "host": request.headers.get("host", ""),
            "headers": {
                key.lower(): ", ".join(request.headers.getall(key)) for key in request.headers
            },
            "body": body,
            "peer": str(request.transport and request.transport.get_extra_info("peername")),
        }
        app.seen[request.path] += 1
        app.requests = [*app.requests[-99:], asked]
        fails = await app.hold()
        status = app.behaviour.status if fails or app.behaviour.status == 200 else 200
        status = app.behaviour.paths.get(request.path, status)
        if fails and app.behaviour.drops and request.transport is not None:
            request.transport.close()
        headers = {"x-instance": app.name, **app.behaviour.headers}
        return web.json_response(asked, status=status, headers=headers)

    application = web.Application(client_max_size=16 * 2**20)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, app.port, ssl_context=tls).start()
    app.runner = runner
    try:
        yield app
    finally:
        await runner.cleanup()


@asynccontextmanager
async def greeter(app: Application) -> AsyncIterator[Application]:
    """gRPC: ``demo.Greeter`` answers its instance's name to every method."""

    async def answer(method: str, context: Any) -> bytes:
        app.seen[method] += 1
        if await app.hold() and app.behaviour.grpc_status is not None:
            await context.abort(app.behaviour.grpc_status, "as told")
        return app.name.encode()

    def handler(method: str) -> Any:
        async def unary(_request: bytes, context: Any) -> bytes:
            return await answer(method, context)

        return grpc.unary_unary_rpc_method_handler(unary)

    server = grpc.aio.server()
    methods = {method: handler(method) for method in METHODS}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("demo.Greeter", methods),)
    )
    server.add_insecure_port(f"{HOST}:{app.port}")
    await server.start()
    try:
        yield app
    finally:
        await server.stop(None)


@asynccontextmanager
async def line(app: Application) -> AsyncIterator[Application]:
    """TCP: says its name in a line at once, then echoes."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.seen["connection"] += 1
        writers.add(writer)
        try:
            writer.write(f"{app.name}\n".encode())
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, OSError):
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, HOST, app.port, family=socket.AF_INET)
    try:
        yield app
    finally:
        server.close()
        for writer in tuple(writers):
            writer.close()
