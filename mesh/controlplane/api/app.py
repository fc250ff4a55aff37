"""The pipeline around every route, and the application made of them.

A call passes, in order: an id and the security headers; a deadline; who calls; what is asked, in
full and strictly; the handler.  Whatever is raised on the way becomes one shape of answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ValidationError

from mesh.clients.consul import ConsulError
from mesh.controlplane import openapi
from mesh.controlplane.api import (
    bundle,
    enrol,
    errors,
    peering,
    policies,
    proxies,
    registrations,
    state,
    tokens,
)
from mesh.controlplane.api.callers import Peering, check_admin, check_peering, check_workload
from mesh.controlplane.api.enrol import XdsAddresses
from mesh.controlplane.api.errors import ApiError
from mesh.controlplane.api.model import Document, Nothing
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.api.view import ZoneView
from mesh.controlplane.dryrun.runs import DryRuns
from mesh.controlplane.enrolment import Enrolment
from mesh.controlplane.metrics import Metrics
from mesh.controlplane.peering.office import PeeringOffice
from mesh.controlplane.registrations import Registrations
from mesh.controlplane.tokens import TokenOffice
from mesh.controlplane.trust import Trust
from mesh.model.identity import ZoneId
from mesh.model.violations import InvalidInputError, Violation

logger = logging.getLogger(__name__)

MAX_BODY: Final = 256 * 1024
"""Bytes of a request's body that are read."""
DEADLINE: Final = 30.0
"""Seconds after which a request is given up."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API is made of."""

    zone: ZoneId
    trust: Trust
    enrolment: Enrolment
    registrations: Registrations
    tokens: TokenOffice
    view: ZoneView
    dry_runs: DryRuns
    metrics: Metrics
    xds: XdsAddresses
    admin_token: str
    office: PeeringOffice
    peering: Peering


def all_routes(parts: ApiParts) -> list[AnyRoute]:
    """Return every route of the API, the one of its description included."""
    found = [
        *bundle.routes(parts.zone, parts.trust),
        *enrol.routes(parts.zone, parts.enrolment, parts.xds),
        *registrations.routes(parts.registrations),
        *tokens.routes(parts.tokens),
        *proxies.routes(parts.view),
        *state.routes(parts.view),
        *policies.routes(parts.dry_runs),
        *peering.routes(parts.office),
    ]

    async def describe(_call: Call, _request: Nothing) -> Document:
        return Document(openapi.document(found))

    found.append(
        Route(
            "GET",
            "/openapi.json",
            "This API, as an OpenAPI document",
            Caller.ANYBODY,
            Reads.NOTHING,
            Nothing,
            Document,
            describe,
        )
    )
    return found


def api_app(parts: ApiParts) -> web.Application:
    """Build the application of port 5678."""
    app = web.Application(
        client_max_size=MAX_BODY, middlewares=[_pipeline(parts.metrics)], logger=logger
    )
    for route in all_routes(parts):
        app.router.add_route(route.method, route.path, _handle(route, parts))
    return app


def _pipeline(metrics: Metrics) -> Any:
    @web.middleware
    async def pipeline(request: web.Request, handler: _Handler) -> web.StreamResponse:
        started = perf_counter()
        offered = request.headers.get("X-Request-Id", "")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        response: web.StreamResponse
        try:
            async with asyncio.timeout(DEADLINE):
                response = await handler(request)
        except Exception as error:  # noqa: BLE001 - the boundary: every error gets the one shape, the unforeseen a log line
            if isinstance(error, ConsulError):
                metrics.consul_errors.labels(call=_endpoint(error.call.path)).inc()
            response = errors.failure(error, request_id).response()
        response.headers.update(_HEADERS)
        response.headers["X-Request-Id"] = request_id
        _note(metrics, request, response, request_id, perf_counter() - started)
        return response

    return pipeline


def _note(
    metrics: Metrics,
    request: web.Request,
    response: web.StreamResponse,
    request_id: str,
    seconds: float,
) -> None:
    resource = request.match_info.route.resource
    # Only paths of ours become labels: their number is bounded.
    route = resource.canonical if resource is not None else "unknown"
    metrics.requests.labels(route=route, status=str(response.status)).observe(seconds)
    logger.debug(
        "request",
        extra={
            "request_id": request_id,
            "method": request.method,
            "route": route,
            "status": response.status,
            "source": request.remote,
            "milliseconds": round(seconds * 1000, 1),
        },
    )


def _endpoint(path: str) -> str:
    # "/v1/kv", whatever the key: the number of labels is bounded.
    return "/".join(path.split("/")[:3])


def _handle(route: AnyRoute, parts: ApiParts) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        peer = None
        zone = check_peering(request, route.caller, parts.peering, parts.office.world().peers)
        match route.caller:
            case Caller.ADMIN:
                check_admin(request, parts.admin_token)
            case Caller.WORKLOAD:
                peer = check_workload(request, parts.zone)
            case Caller.ANYBODY | Caller.INVITED | Caller.PEER:
                pass
        asked = await _parse(route, request)
        call = Call(request.remote or "", dict(request.match_info), peer, zone)
        answer = await route.handler(call, asked)
        return web.Response(
            status=route.status, text=answer.model_dump_json(), content_type="application/json"
        )

    return handle


async def _parse(route: AnyRoute, request: web.Request) -> BaseModel:
    model: type[BaseModel] = route.request
    subject = f"{route.method} {request.path}"
    try:
        match route.reads:
            case Reads.BODY:
                if route.largest:
                    request = request.clone(client_max_size=route.largest)
                body = await request.read()
                if request.content_type != "application/json":
                    raise ApiError(
                        415,
                        f"the body is {request.content_type}, not application/json",
                        remedy="send JSON with 'Content-Type: application/json'",
                    )
                return model.model_validate_json(body)
            case Reads.QUERY:
                return model.model_validate(_query(request))
            case Reads.NOTHING:
                return model.model_validate(_query(request))
    except ValidationError as error:
        raise _invalid(subject, error) from error


def _query(request: web.Request) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in request.query:
        values: Sequence[str] = request.query.getall(name)
        found[name] = values[0] if len(values) == 1 else list(values)
    return found


def _invalid(subject: str, error: ValidationError) -> InvalidInputError:
    violations = []
    for detail in error.errors(include_url=False, include_input=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]
        ).lstrip(".")
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "unknown field"
        elif detail["type"] == "missing":
            message = "is required"
        violations.append(Violation(path, message))
    return InvalidInputError(subject, tuple(violations))
