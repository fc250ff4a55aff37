"""A daemon's ``/metrics``, ``/live`` and ``/ready``, in plain HTTP and without a secret.

Live means that the process answers.  Ready means that it can do its work: every reason that it
cannot is in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Readiness = Callable[[], Sequence[str]]
"""Returns every reason why the daemon is not ready; none means that it is."""


class Metrics(Protocol):
    """The daemon's figures."""

    def expose(self) -> bytes:
        """Write all figures in Prometheus' text format."""


def health_app(metrics: Metrics, readiness: Readiness) -> web.Application:
    """Build the application of a health port."""

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

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
