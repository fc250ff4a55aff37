"""``service-router`` entries.  Pure."""

from __future__ import annotations

from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.entries import RouteDestination, Router, RouterRoute
from mesh.model.requests import Match, PathKind
from mesh.sources.consul.entries.fields import (
    Entry,
    count,
    duration_or_off,
    refuse_enterprise,
    service,
    subset,
    visible,
)
from mesh.sources.consul.entries.headers import header_edits
from mesh.sources.consul.entries.kinds import SERVICE_ROUTER
from mesh.sources.consul.entries.matches import match
from mesh.sources.consul.problems import Raw

_CONDITIONS: Final = (
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
_REWRITABLE: Final = (PathKind.EXACT, PathKind.PREFIX)
_STATUSES: Final = range(100, 600)


def parse_router(raw: Raw) -> Router:
    """Read a ``service-router`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    entry = Entry(SERVICE_ROUTER, raw)
    name = entry.fields.name("Name")
    routes = tuple(_route(entry, route) for route in entry.fields.children("Routes"))
    entry.close()
    return Router(name, routes)


def _route(entry: Entry, route: Fields) -> RouterRoute:
    found = match(route)
    said = route.child("Destination")
    destination = RouteDestination() if said is None else _destination(entry, said, found)
    route.close()
    return RouterRoute(found, destination)


def _destination(entry: Entry, said: Fields, found: Match) -> RouteDestination:
    refuse_enterprise(said)
    rewrite = visible(said, "PrefixRewrite")
    if rewrite and (found.path is None or found.path.kind not in _REWRITABLE):
        said.wrong("PrefixRewrite", "needs a PathExact or PathPrefix in Match to put it in for")
    destination = RouteDestination(
        service=service(said),
        subset=subset(said),
        prefix_rewrite=rewrite,
        request_timeout=duration_or_off(entry, said, "RequestTimeout"),
        idle_timeout=duration_or_off(entry, said, "IdleTimeout"),
        retries=count(said, "NumRetries") or 0,
        retry_on=_conditions(said),
        retry_on_connect_failure=said.boolean("RetryOnConnectFailure"),
        retry_statuses=_statuses(said),
        request_headers=header_edits(said, "RequestHeaders"),
        response_headers=header_edits(said, "ResponseHeaders"),
    )
    said.close()
    return destination


def _conditions(said: Fields) -> tuple[str, ...]:
    found = said.texts("RetryOn")
    for index, condition in enumerate(found):
        if condition not in _CONDITIONS:
            said.wrong(f"RetryOn[{index}]", f"{condition!r} is not one of {', '.join(_CONDITIONS)}")
    return found


def _statuses(said: Fields) -> tuple[int, ...]:
    given = said.raw("RetryOnStatusCodes")
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        said.wrong("RetryOnStatusCodes", "expected a list")
        return ()
    found: list[int] = []
    for index, status in enumerate(given):
        if isinstance(status, int) and not isinstance(status, bool) and status in _STATUSES:
            found.append(status)
        else:
            said.wrong(f"RetryOnStatusCodes[{index}]", f"{status!r} is no HTTP status, 100 to 599")
    return tuple(dict.fromkeys(found))
