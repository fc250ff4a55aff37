"""``/v1/agent``: the registry as the local agent of its own node."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from mesh.embedded import agent, catalog, checks, wire
from mesh.embedded.core import NODE_NAME, OWN_SERVICE
from mesh.embedded.decode import Body
from mesh.embedded.decode import json as parse
from mesh.embedded.errors import RefusedError
from mesh.embedded.http import exchange
from mesh.embedded.records import SERF_HEALTH

VERSION = "1.18.0"
"""The Consul release whose dialect is spoken."""

_STATUS_OF_VERB = {"pass": "passing", "warn": "warning", "fail": "critical"}


def routes() -> list[web.RouteDef]:
    """Return the routes of this module."""
    return [
        web.get("/v1/agent/self", _self),
        web.get("/v1/agent/services", _services),
        web.get("/v1/agent/service/{id}", _service),
        web.get("/v1/agent/checks", _checks),
        web.put("/v1/agent/service/register", _register),
        web.put("/v1/agent/service/deregister/{id:.+}", _deregister),
        web.put("/v1/agent/check/register", _register_check),
        web.put("/v1/agent/check/deregister/{id:.+}", _deregister_check),
        web.put("/v1/agent/check/update/{id:.+}", _update),
        web.put("/v1/agent/check/{verb:pass|warn|fail}/{id:.+}", _beat),
    ]


async def _self(request: web.Request) -> web.StreamResponse:
    core = exchange.context(request).core
    settings = core.settings
    policy = "allow" if settings.default_allow else "deny"
    node = core.store.nodes.get(NODE_NAME)
    return exchange.json(
        {
            "Config": {
                "Datacenter": settings.datacenter,
                "PrimaryDatacenter": settings.datacenter,
                "NodeName": NODE_NAME,
                "NodeID": node.id if node else "",
                "Revision": "embedded",
                "Server": True,
                "Version": VERSION,
            },
            "DebugConfig": {
                "ACLsEnabled": bool(settings.token),
                "ACLDefaultPolicy": policy,
                "DefaultIntentionPolicy": policy,
                "ConnectEnabled": True,
            },
            "Member": {"Name": NODE_NAME, "Addr": settings.address, "Status": 1},
            "Meta": (node.meta if node else None) or {},
        }
    )


async def _services(request: web.Request) -> web.StreamResponse:
    context = exchange.context(request)
    registered = context.core.store.services.by("node", NODE_NAME)
    # The server's own entry is in the catalog; the agent did not register it.
    found = [service for service in registered if service.id != OWN_SERVICE]
    return exchange.json({each.id: wire.agent_service(each, context.datacenter) for each in found})


async def _service(request: web.Request) -> web.StreamResponse:
    context = exchange.context(request)
    service_id = request.match_info["id"]
    if service_id == "register":
        raise web.HTTPMethodNotAllowed("GET", ["PUT"])
    found = context.core.store.services.get(NODE_NAME, service_id)
    if found is None:
        raise RefusedError(f"unknown service ID: {service_id}", HTTPStatus.NOT_FOUND)
    return exchange.json(wire.agent_service(found, context.datacenter))


async def _checks(request: web.Request) -> web.StreamResponse:
    found = exchange.context(request).core.store.checks.by("node", NODE_NAME)
    # serfHealth is the catalog's view of the agent, which has no such check itself.
    own = [each for each in found if each.id != SERF_HEALTH]
    return exchange.json({each.id: wire.check(each) for each in own})


async def _register(request: web.Request) -> web.StreamResponse:
    wanted = agent.registration(Body(parse(await request.read())))
    replace = "replace-existing-checks" in request.query
    await exchange.context(request).core.write(
        lambda tx: agent.register(tx, wanted, replace_checks=replace)
    )
    return exchange.done()


async def _deregister(request: web.Request) -> web.StreamResponse:
    service_id = request.match_info["id"]
    await exchange.context(request).core.write(lambda tx: checks.deregister(tx, service_id))
    return exchange.done()


async def _register_check(request: web.Request) -> web.StreamResponse:
    body = Body(parse(await request.read()))
    name = body.text("Name")
    if not name:
        raise RefusedError("Missing check name", HTTPStatus.BAD_REQUEST)
    wanted, plan = agent.check(
        body, service_id=body.text("ServiceID"), default_id=name, default_name=name
    )
    await exchange.context(request).core.write(lambda tx: agent.register_check(tx, wanted, plan))
    return exchange.done()


async def _deregister_check(request: web.Request) -> web.StreamResponse:
    check_id = request.match_info["id"]
    await exchange.context(request).core.write(lambda tx: agent.deregister_check(tx, check_id))
    return exchange.done()


async def _beat(request: web.Request) -> web.StreamResponse:
    status = _STATUS_OF_VERB[request.match_info["verb"]]
    return await _set(request, status, request.query.get("note", ""))


async def _update(request: web.Request) -> web.StreamResponse:
    body = Body(parse(await request.read()))
    status = body.text("Status")
    if status not in catalog.STATUSES:
        raise RefusedError(f"Invalid check status: '{status}'", HTTPStatus.BAD_REQUEST)
    return await _set(request, status, body.text("Output"))


async def _set(request: web.Request, status: str, output: str) -> web.Response:
    context = exchange.context(request)
    check_id = request.match_info["id"]
    check = context.core.store.checks.get(NODE_NAME, check_id)
    if check is None or not context.runner.beat(check_id):
        raise RefusedError(f'CheckID "{check_id}" does not have associated TTL')
    changed: Any = msgspec.structs.replace(check, status=status, output=output)
    await context.core.write(lambda tx: catalog.put_check(tx, changed))
    return exchange.done()
