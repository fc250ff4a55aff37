"""As much of a Consul 1.9 server as a client of intentions sees, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve ``app`` on a free loopback port and yield its URL."""
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class ModernConsul:
    """Keeps ``service-intentions`` entries with indexes, compare-and-set included."""

    def __init__(self) -> None:
        """Start without entries; ``lose_next`` writes lose, ``refuse_keys`` are unknown."""
        self.entries: dict[str, dict[str, Any]] = {}
        self.index = 10
        self.lose_next = 0
        self.refuse_keys: set[str] = set()

    def application(self) -> web.Application:
        """Return the server's routes."""
        app = web.Application()
        app.router.add_get("/v1/config/service-intentions", self._list)
        app.router.add_get("/v1/config/service-intentions/{name}", self._get)
        app.router.add_delete("/v1/config/service-intentions/{name}", self._delete)
        app.router.add_put("/v1/config", self._put)
        app.router.add_get("/v1/connect/intentions/check", self._check)
        return app

    def _answer(self, body: object, status: int = 200) -> web.Response:
        headers = {"X-Consul-Index": str(self.index)}
        return web.json_response(body, status=status, headers=headers)

    async def _list(self, _: web.Request) -> web.Response:
        return self._answer(list(self.entries.values()))

    async def _get(self, request: web.Request) -> web.Response:
        entry = self.entries.get(request.match_info["name"])
        if entry is None:
            return web.Response(status=404, text="Config entry not found")
        return self._answer(entry)

    def _lost(self, request: web.Request, name: str) -> bool:
        if self.lose_next:
            self.lose_next -= 1
            return True
        cas = request.query.get("cas")
        entry = self.entries.get(name)
        return cas is not None and int(cas) != (entry["ModifyIndex"] if entry else 0)

    async def _put(self, request: web.Request) -> web.Response:
        entry = await request.json()
        refused = self.refuse_keys & entry.keys()
        if refused:
            words = f'Bad request: invalid config key "{refused.pop()}"'
            return web.Response(status=400, text=words)
        await asyncio.sleep(0)
        if self._lost(request, entry["Name"]):
            return self._answer(body=False)
        self.index += 1
        self.entries[entry["Name"]] = {**entry, "ModifyIndex": self.index}
        return self._answer(body=True)

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self._lost(request, name):
            return self._answer(body=False)
        self.index += 1
        self.entries.pop(name, None)
        return self._answer(body=True)

    async def _check(self, _: web.Request) -> web.Response:
        return self._answer({"Allowed": True})
