"""The demo's three services: ``web`` (HTTP) asks ``api`` (HTTP), which asks ``db`` (TCP).

None of them knows of the mesh: each dials a port on its own host and speaks plain text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import web

from mesh.demo.loopback import HOST

_ORDERS: Final = {"1": "an espresso", "2": "a flat white"}


class Database:
    """A line protocol over TCP: ``GET <key>`` answers one line."""

    def __init__(self) -> None:
        """Prepare the database."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int) -> None:
        """Listen on ``port``."""
        self._server = await asyncio.start_server(self._serve, HOST, port)

    async def close(self) -> None:
        """Stop, ending open connections."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while line := await reader.readline():
                key = line.decode(errors="replace").removeprefix("GET ").strip()
                writer.write(f"{_ORDERS.get(key, '-')}\n".encode())
                await writer.drain()
        except ConnectionError:
            return
        finally:
            self._open.discard(writer)
            writer.close()


async def ask_database(port: int, key: str, *, patience: float = 5.0) -> str:
    """Ask the database that answers on this host's ``port``.

    Raises:
        ConnectionError: it closed without an answer.
        TimeoutError: nothing came for ``patience`` seconds.

    """
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET {key}\n".encode())
            line = await reader.readline()
        finally:
            writer.close()
    if not line:
        raise ConnectionResetError("the database closed the connection without an answer")
    return line.decode().strip()


class HttpService:
    """An HTTP application on loopback."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        """Answer every request with ``handler``."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, port: int) -> None:
        """Listen on ``port``."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()

    async def close(self) -> None:
        """Stop."""
        await self._runner.cleanup()


class Api(HttpService):
    """``/orders/<key>`` asks the database; anything else is a greeting."""

    def __init__(self, database_port: int, greeting: str = "hello from api") -> None:
        """Find the database on this host's ``database_port``, as if it were here."""
        self._database_port = database_port
        self._greeting = greeting
        super().__init__(self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        if not request.path.startswith("/orders/"):
            return web.Response(text=f"{self._greeting}\n")
        try:
            order = await ask_database(self._database_port, request.path.rsplit("/", 1)[-1])
        except (OSError, TimeoutError) as error:
            return web.Response(status=502, text=f"the database did not answer: {error}\n")
        return web.Response(text=f"order: {order}\n")


class Web(HttpService):
    """Passes every request on to ``api``, and its answer back."""

    def __init__(self, api_port: int) -> None:
        """Find ``api`` on this host's ``api_port``, as if it were here."""
        self._api = f"http://{HOST}:{api_port}"
        self._session: aiohttp.ClientSession | None = None
        super().__init__(self._handle)

    async def start(self, port: int) -> None:
        """Listen on ``port``."""
        self._session = aiohttp.ClientSession()
        await super().start(port)

    async def close(self) -> None:
        """Stop."""
        await super().close()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.Response:
        if self._session is None:
            raise web.HTTPServiceUnavailable(text="not started")
        url = f"{self._api}{request.path_qs}"
        async with self._session.request(request.method, url) as answer:
            return web.Response(status=answer.status, body=await answer.read())
