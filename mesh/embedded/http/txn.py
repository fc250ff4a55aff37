"""``/v1/txn``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from mesh.embedded import txn
from mesh.embedded.decode import json as parse
from mesh.embedded.http import exchange
from mesh.embedded.verbs import Surroundings


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [web.put("/v1/txn", _put)]


async def _put(request: web.Request) -> web.StreamResponse:
    core = exchange.context(request).core
    operations = txn.read(parse(await request.read(), what="Failed to parse body"))
    txn.decode_values(operations)
    surroundings = Surroundings(core.settings.datacenter, core.is_lock_delayed)
    # Consul answers a transaction that cannot change anything as the read it is.
    extra: dict[str, Any] = {}
    if all(operation.only_reads for operation in operations):
        extra = {"Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": ""}
    try:
        results = await core.write(lambda tx: txn.apply(tx, operations, surroundings))
    except txn.TransactionFailedError as error:
        errors = [{"OpIndex": place, "What": what} for place, what in error.failures]
        return exchange.json({"Results": None, "Errors": errors, **extra}, HTTPStatus.CONFLICT)
    return exchange.json({"Results": results, "Errors": None, **extra})
