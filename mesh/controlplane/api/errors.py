"""Errors as the API answers them: one shape, a fitting status, and always what to do.

Whatever a handler raises becomes a :class:`Failure` here; what nobody foresaw is logged with its
traceback under the request's id, and the caller learns the id and nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Final

from aiohttp import web

from mesh.ca.issuer import IssuerError
from mesh.ca.peering import PeeringTokenError
from mesh.clients.consul import ConsulError
from mesh.controlplane.api.model import ErrorBody, ViolationBody
from mesh.controlplane.bindings import UnreadableRecordError
from mesh.controlplane.peering.dialling import PeerError
from mesh.controlplane.peering.office import PeeringRefusedError
from mesh.controlplane.refusals import RefusedError, TooManyRequestsError
from mesh.controlplane.registrations import ForeignInstanceError
from mesh.model.violations import InvalidInputError

logger = logging.getLogger(__name__)

_OTHERWISE: Final = "see /openapi.json for what this API takes"


class ApiError(Exception):
    """An error that a route answers by itself."""

    def __init__(
        self, status: int, error: str, *, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Keep the parts of the answer."""
        super().__init__(f"{error}; {remedy}")
        self.status = status
        self.error = error
        self.remedy = remedy
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is an error."""

    status: int
    body: ErrorBody
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Write it."""
        return web.Response(
            status=self.status,
            text=self.body.model_dump_json(),
            content_type="application/json",
            headers=self.headers,
        )


def failure(error: Exception, request_id: str) -> Failure:
    """Return what ``error`` answers."""
    known = _known(error)
    if known is not None:
        return known
    logger.error("unforeseen error", extra={"request_id": request_id}, exc_info=error)
    remedy = f"look for request id {request_id} in the zone's log, and report it"
    return _plain(500, "the zone met an error of its own", remedy)


@singledispatch
def _known(_error: Exception) -> Failure | None:
    return None


@_known.register
def _(error: ApiError) -> Failure:
    return _plain(error.status, error.error, error.remedy, error.headers)


@_known.register
def _(error: PeeringRefusedError) -> Failure:
    return _plain(409, error.reason, error.remedy)


@_known.register
def _(error: PeeringTokenError) -> Failure:
    return _plain(403, f"the peering token {error.reason}", error.remedy)


@_known.register
def _(error: PeerError) -> Failure:
    return _plain(502, str(error), "see what the other zone says, and try again")


@_known.register
def _(error: TooManyRequestsError) -> Failure:
    seconds = str(math.ceil(error.retry_after))
    return _plain(429, error.message, error.remedy, {"Retry-After": seconds})


@_known.register
def _(error: RefusedError) -> Failure:
    return _plain(403, error.message, error.remedy)


@_known.register
def _(error: ForeignInstanceError) -> Failure:
    return _plain(403, str(error), "register with the certificate of the service itself")


@_known.register
def _(error: UnreadableRecordError) -> Failure:
    return _plain(409, str(error), "repair or delete the key named in the error")


@_known.register
def _(error: ConsulError) -> Failure:
    logger.warning("consul failed a request", extra={"reason": str(error)})
    return _plain(503, f"Consul: {error.what}", f"try again; on the zone: {error.remedy}")


@_known.register
def _(error: IssuerError) -> Failure:
    logger.warning("issuer failed a request", extra={"reason": str(error)})
    message = str(error).removesuffix(f"; {error.remedy}")
    return _plain(503, message, f"try again; on the zone: {error.remedy}")


@_known.register
def _(_error: TimeoutError) -> Failure:
    return _plain(504, "the zone took too long", "try again; see the zone's log")


@_known.register
def _(error: InvalidInputError) -> Failure:
    violations = [ViolationBody(path=each.path, message=each.message) for each in error.violations]
    body = ErrorBody(
        error=f"{error.subject} is not valid",
        remedy="mend every violation listed and send it again",
        violations=violations,
    )
    return Failure(422, body)


@_known.register
def _(error: web.HTTPException) -> Failure:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return _plain(413, "the body is too large", "send less")
    return _plain(error.status, error.reason.lower(), _OTHERWISE, headers)


def _plain(
    status: int, error: str, remedy: str, headers: Mapping[str, str] | None = None
) -> Failure:
    return Failure(status, ErrorBody(error=error, remedy=remedy), headers or {})
