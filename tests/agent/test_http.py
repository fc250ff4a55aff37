"""The agent's own HTTP client."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mesh.agent.admin import Admin


async def test_envoy_is_asked_while_every_other_thread_waits_for_a_resolver(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    loop, answered = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hanging = loop.run_in_executor(None, answered.wait)
    socket = str(tmp_path / "envoy.sock")
    try:
        async with await asyncio.start_unix_server(answer, socket):
            assert await Admin(socket).changes() == b"ok"
    finally:
        answered.set()
        await hanging
