"""The embedded registry on a socket.

registry = EmbeddedRegistry(data_dir)
url = await registry.start("127.0.0.1", 0)
...
await registry.close()
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from mesh.aio.clock import Clock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.embedded.checks import CheckRunner
from mesh.embedded.core import Core, Settings
from mesh.embedded.http import (
    agent,
    catalog,
    config,
    exchange,
    health,
    intentions,
    kv,
    session,
    status,
    txn,
)
from mesh.embedded.persistence import Persistence
from mesh.embedded.timers import SessionTimers
from mesh.model import hostport

logger = logging.getLogger(__name__)

_LARGEST_BODY = 4 * 1024 * 1024
_MODULES = (agent, catalog, config, health, intentions, kv, session, status, txn)


class EmbeddedRegistry:
    """A registry that speaks Consul's HTTP API from inside this process."""

    def __init__(
        self,
        data_dir: Path,
        token: str = "",
        datacenter: str = "dc1",
        *,
        default_allow: bool = False,
        neighbours: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Keep the state below ``data_dir``.

        With a ``token`` every request must carry it.  ``default_allow`` is the verdict where
        no intention matches.  ``neighbours`` are the URLs of the registries of other datacenters,
        by name.  ``settings`` gives everything at once, for tests.
        """
        self._data_dir = data_dir
        self._settings = settings or Settings(
            datacenter=datacenter,
            token=token,
            default_allow=default_allow,
            neighbours=neighbours or {},
        )
        self._clock = clock or SystemClock()
        self._tasks = Tasks("embedded registry")
        self._runner: web.AppRunner | None = None
        self._context: exchange.Context | None = None
        self.url = ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on TCP and return the URL; port 0 takes a free one.

        Raises:
            PersistenceError: the state cannot be read.
            OSError: the address cannot be listened on.

        """
        runner = await self._prepare()
        site = web.TCPSite(runner, host, port, backlog=4096)
        await self._listen(site)
        self.url = f"http://{hostport.join(*runner.addresses[0][:2])}"
        logger.info("embedded registry listens", extra={"url": self.url})
        return self.url

    async def start_unix(self, path: Path) -> str:
        """Listen on a Unix socket and return its address in Consul's form, ``unix://…``.

        Raises:
            PersistenceError: the state cannot be read.
            OSError: the socket cannot be made.

        """
        runner = await self._prepare()
        # The directory decides who may connect: whoever can reach the socket can use it.
        await self._listen(web.UnixSite(runner, path, backlog=4096))
        self.url = f"unix://{path}"
        logger.info("embedded registry listens", extra={"url": self.url})
        return self.url

    async def close(self) -> None:
        """Answer who waits, write what is queued, and let the directory go."""
        if self._context is not None:
            context, self._context = self._context, None
            context.core.stop_waiting()
            if self._runner is not None:
                await self._runner.cleanup()
            context.timers.close()
            # From here on nobody starts a check for what is still being written.
            context.core.observers.clear()
            await self._tasks.close()
            await context.runner.close()
            await context.core.close()
        self._runner = None

    async def _prepare(self) -> web.AppRunner:
        core = Core(Persistence(self._data_dir), self._settings)
        try:
            await core.prepare()
        except BaseException:
            await core.close()
            raise
        checks = CheckRunner(core, self._tasks, self._clock)
        self._context = exchange.Context(core, checks, SessionTimers(core))
        app = web.Application(middlewares=[exchange.boundary], client_max_size=_LARGEST_BODY)
        app[exchange.CONTEXT] = self._context
        for module in _MODULES:
            app.add_routes(module.routes())
        # A blocked query whose client has gone is of no use to anybody.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await self._runner.setup()
        return self._runner

    async def _listen(self, site: web.BaseSite) -> None:
        try:
            await site.start()
        except BaseException:
            await self.close()
            raise
