"""Registries inside the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mesh.aio.clock import Clock
from mesh.embedded.core import NODE_NAME, Settings
from mesh.embedded.server import EmbeddedRegistry
from tests.contract.api import Api

Start = Callable[..., Awaitable[Api]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a registry with the given settings and return its API."""
    async with AsyncExitStack() as stack:

        async def one(
            clock: Clock | None = None, headers: dict[str, str] | None = None, **settings: Any
        ) -> Api:
            registry = EmbeddedRegistry(tmp_path, settings=Settings(**settings), clock=clock)
            stack.push_async_callback(registry.close)
            url = await registry.start()
            session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
            return Api(session, url, NODE_NAME)

        yield one
