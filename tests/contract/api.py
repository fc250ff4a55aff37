"""Raw HTTP to a registry: what was asked, what came back, and waiting in between."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

DEADLINE = 15.0
QUIET = 0.3
"""How long a query that must not wake is watched."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, its JSON read when asked for."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def index(self) -> int:
        """The index to block on."""
        return int(self.headers["X-Consul-Index"])


class Api:
    """Speaks to one server; ``unique`` names keep tests on a shared server apart."""

    def __init__(self, session: aiohttp.ClientSession, url: str, node: str) -> None:
        """``node`` is the server's own."""
        self._session = session
        self._url = url
        self.node = node

    @staticmethod
    def unique(stem: str) -> str:
        """Return a name that no other test has."""
        return f"{stem}-{uuid.uuid4().hex[:8]}"

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Reply:
        """Send a request; ``body`` is JSON unless it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        params = {key.replace("_", "-"): str(value) for key, value in query.items()}
        async with self._session.request(
            method, self._url + path, data=data, params=params
        ) as answer:
            return Reply(answer.status, await answer.text(), dict(answer.headers))

    async def get(self, path: str, **query: Any) -> Reply:
        """GET."""
        return await self.ask("GET", path, **query)

    async def put(self, path: str, body: Any = None, **query: Any) -> Reply:
        """PUT."""
        return await self.ask("PUT", path, body, **query)

    async def delete(self, path: str, **query: Any) -> Reply:
        """DELETE."""
        return await self.ask("DELETE", path, **query)

    async def register(self, node: str, service: str, **more: Any) -> None:
        """Register an instance of ``service`` on a catalog node of its own."""
        definition = {"ID": service, "Service": service, "Port": 80, **more}
        body = {
            "Node": node,
            "Address": "10.0.0.1",
            "SkipNodeUpdate": True,
            "Service": definition,
            "Check": {
                "CheckID": f"{service}-check",
                "Name": "check",
                "ServiceID": definition["ID"],
                "Status": "passing",
            },
        }
        await self.done(self.put("/v1/catalog/register", body))

    async def check(self, node: str, service: str, status: str, output: str = "") -> None:
        """Write the status of the check that :meth:`register` made."""
        body = {
            "Node": node,
            "Address": "10.0.0.1",
            "SkipNodeUpdate": True,
            "Check": {
                "CheckID": f"{service}-check",
                "Name": "check",
                "ServiceID": service,
                "Status": status,
                "Output": output,
            },
        }
        await self.done(self.put("/v1/catalog/register", body))

    @staticmethod
    async def done(request: Awaitable[Reply]) -> Reply:
        """Insist that ``request`` succeeds."""
        reply = await request
        assert reply.status == 200, f"{reply.status} {reply.text}"
        return reply

    async def wakes(self, path: str, change: Callable[[], Awaitable[Any]]) -> bool:
        """Whether ``change`` ends a query of ``path`` that blocks on its present index."""
        index = (await self.get(path)).index
        blocked = asyncio.gather(self.get(path, index=index, wait="60s"))
        try:
            async with asyncio.timeout(DEADLINE):
                # The change must come after the query blocks; a query that ends by itself in
                # this time would be a spurious wake.
                done, _ = await asyncio.wait([blocked], timeout=QUIET / 3)
                assert not done
                await change()
                done, _ = await asyncio.wait([blocked], timeout=QUIET)
                return bool(done)
        finally:
            blocked.cancel()
            await asyncio.wait([blocked])

    async def eventually(self, ask: Callable[[], Awaitable[bool]]) -> None:
        """Wait until ``ask`` says yes: an agent carries its services to the catalog in time."""
        async with asyncio.timeout(DEADLINE):
            while not await ask():
                await pause()


async def pause() -> None:
    """Let the other side do something before it is asked again."""
    await asyncio.sleep(0.02)
