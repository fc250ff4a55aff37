"""``/v1/status``."""

from __future__ import annotations

from aiohttp import web

from mesh.embedded.http import exchange


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [web.get("/v1/status/leader", _leader), web.get("/v1/status/peers", _peers)]


async def _leader(request: web.Request) -> web.StreamResponse:
    return exchange.json(_address(request))


async def _peers(request: web.Request) -> web.StreamResponse:
    return exchange.json([_address(request)])


def _address(request: web.Request) -> str:
    return f"{exchange.context(request).core.settings.address}:8300"
