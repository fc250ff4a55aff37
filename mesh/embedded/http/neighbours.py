"""Reads of other datacenters: asked of the registries that stand for them.

Consul's servers forward what is asked with ``?dc=``.  Here the request goes to the neighbour's own
registry as it is, its token included, and so does the answer.  Writes are not forwarded, and
nothing is replicated: what shall hold in several zones is written in each.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import web

from mesh.embedded.errors import RefusedError

_CONNECT: Final = 2.0
"""Seconds."""
_KEPT: Final = ("Content-Type", "X-Consul-Index", "X-Consul-Knownleader", "X-Consul-Lastcontact")
_TOKEN: Final = "X-Consul-Token"


async def forward(request: web.Request, url: str) -> web.StreamResponse:
    """Ask the registry at ``url`` what ``request`` asks, and hand on its answer.

    Raises:
        RefusedError: it is a write, or the neighbour does not answer.

    """
    if request.method != "GET":
        raise RefusedError("the embedded registry forwards no writes: write in that datacenter")
    token = request.headers.get(_TOKEN, "")
    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
    try:
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.get(
                f"{url}{request.rel_url}", headers={_TOKEN: token} if token else {}
            ) as answer,
        ):
            body = await answer.read()
            headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
            return web.Response(status=answer.status, body=body, headers=headers)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RefusedError(
            f"rpc error: no path to datacenter: {error}", HTTPStatus.INTERNAL_SERVER_ERROR
        ) from error
