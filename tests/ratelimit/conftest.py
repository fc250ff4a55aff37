"""A Redis, and instances of the service that count in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mesh.aio.clock import SystemClock
from mesh.config.ratelimit import RateLimitSettings
from mesh.ratelimit.program import Running, serving
from tests.ratelimit.asking import Redis, ready
from tests.waiting import until

Start = Callable[..., Awaitable[Running]]
"""Starts an instance with the settings given; it ends with the test."""


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    running = Redis(tmp_path)
    try:
        await running.start()
        yield running
    finally:
        await running.kill()


@pytest.fixture
async def instance() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(*, wait: bool = True, **settings: Any) -> Running:
            listen = {"grpc": "127.0.0.1:0", "health": "127.0.0.1:0"}
            read = RateLimitSettings.model_validate({"listen": listen, **settings})
            running = await stack.enter_async_context(serving(read, SystemClock()))

            async def is_ready() -> bool:
                return await ready(running.health)

            if wait:
                await until(is_ready)
            return running

        yield start
