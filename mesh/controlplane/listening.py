"""Ports: opening one, bounding who comes in, and saying what to do when it cannot be had.

Anybody who reaches a port may connect before he proves anything.  What that can cost the zone is
bounded: connections in number, handshakes in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ssl import SSLContext
from typing import Final

from aiohttp import web

from mesh.config.types import HostPort
from mesh.xds.server import ListenError

MAX_CONNECTIONS: Final = 2_000
"""Open connections to one port; agents connect for one request at a time."""
_HANDSHAKE: Final = 10.0
"""Seconds that a TLS handshake may take."""
_GRACE: Final = 2.0
"""Seconds that requests under way get when the server closes."""

logger = logging.getLogger(__name__)


async def listen(
    stack: AsyncExitStack,
    name: str,
    app: web.Application,
    place: HostPort,
    context: SSLContext | None = None,
    *,
    most: int = MAX_CONNECTIONS,
) -> None:
    """Serve ``app`` at ``place`` until ``stack`` unwinds.

    Raises:
        ListenError: the address cannot be had.

    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GRACE)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if runner.server is None:
        raise AssertionError  # setup() makes it
    with explained(name, place):
        server = await asyncio.get_running_loop().create_server(
            _Bounded(name, runner.server, most),
            place.host,
            place.port,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE if context is not None else None,
        )
    stack.callback(server.close)


class _Bounded:
    """Makes connections, and closes those that are too many as soon as they open."""

    def __init__(self, name: str, server: web.Server, most: int) -> None:
        self._name = name
        self._server = server
        self._most = most

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self._server.connections) < self._most:
            return self._server()
        logger.warning("connection refused: too many are open", extra={"port": self._name})
        return _Closing()


class _Closing(asyncio.Protocol):
    """A connection that is not wanted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


@contextlib.contextmanager
def explained(what: str, place: HostPort) -> Iterator[None]:
    """Turn a refusal of the operating system into an error that says what to do.

    Raises:
        ListenError: instead of the ``OSError``.

    """
    try:
        yield
    except OSError as error:
        raise ListenError(
            f"{what} cannot listen on {place}: {error.strerror}; see who holds it "
            f"(ss -ltnp 'sport = :{place.port}') and stop that, or choose another address"
        ) from error
