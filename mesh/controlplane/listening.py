"""Ports: opening one, and saying what to do when it cannot be had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ssl import SSLContext
from typing import Final

from aiohttp import web

from mesh.config.types import HostPort
from mesh.xds.server import ListenError

_GRACE: Final = 2.0
"""Seconds that requests under way get when the server closes."""


async def listen(
    stack: AsyncExitStack,
    name: str,
    app: web.Application,
    place: HostPort,
    context: SSLContext | None = None,
) -> None:
    """Serve ``app`` at ``place`` until ``stack`` unwinds.

    Raises:
        ListenError: the address cannot be had.

    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GRACE)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    with explained(name, place):
        await web.TCPSite(runner, place.host, place.port, ssl_context=context).start()


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
