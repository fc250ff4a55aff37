"""What anybody can cost a port before he proves anything."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from mesh.aio.health import health_app
from mesh.config.types import HostPort
from mesh.controlplane.listening import listen
from mesh.controlplane.metrics import Metrics
from mesh.demo.loopback import HOST, free_ports


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask whether it lives, on a connection that stays open; nothing, if it was closed."""
    try:
        writer.write(b"GET /live HTTP/1.1\r\nhost: zone\r\n\r\n")
        return await asyncio.wait_for(reader.readline(), 5)
    except ConnectionError:
        return b""


async def test_one_too_many_is_closed_and_a_place_that_comes_free_is_given() -> None:
    (port,) = free_ports(1)
    async with AsyncExitStack() as stack:
        app = health_app(Metrics(), list)
        await listen(stack, "metrics", app, HostPort(HOST, port), most=2)
        first = await asyncio.open_connection(HOST, port)
        second = await asyncio.open_connection(HOST, port)
        assert b"200" in await ask(*first)
        assert b"200" in await ask(*second)
        third = await asyncio.open_connection(HOST, port)
        assert await ask(*third) == b""
        third[1].close()
        second[1].close()
        for _ in range(100):
            fourth = await asyncio.open_connection(HOST, port)
            answer = await ask(*fourth)
            fourth[1].close()
            if b"200" in answer:
                break
        assert b"200" in answer
        first[1].close()
