"""``/metrics``, ``/live`` and ``/ready``, in plain HTTP and without a secret.

Live means that the process answers.  Ready means that it can count: every reason that it cannot
is in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from mesh.config.types import HostPort
from mesh.ratelimit.errors import PortTakenError
from mesh.ratelimit.metrics import CONTENT_TYPE, Metrics

_GRACE: Final = 1.0
"""Seconds that requests under way get when the service ends."""

Readiness = Callable[[], Sequence[str]]
"""Returns every reason why the service is not ready; none means that it is."""


def health_app(metrics: Metrics, readiness: Readiness) -> web.Application:
    """Build the application."""

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(_: web.Request) -> web.Response:
        reasons = list(readiness())
        return web.json_response(
            {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", expose), web.get("/live", live), web.get("/ready", ready)])
    return app


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
