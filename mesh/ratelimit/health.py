"""The health port of the service; ready means that it can count."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from mesh.config.types import HostPort
from mesh.ratelimit.errors import PortTakenError

_GRACE: Final = 1.0
"""Seconds that requests under way get when the service ends."""


async def serve(stack: AsyncExitStack, app: web.Application, place: HostPort) -> HostPort:
    """Serve ``app`` at ``place`` until ``stack`` unwinds; return where that is.

    Raises:
        PortTakenError: the address cannot be had.

    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GRACE)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, place.host, place.port).start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise PortTakenError("the health page", str(place), reason) from error
    return HostPort(place.host, runner.addresses[0][1])
