"""The way of a call, written for programs: JSON, with the document that said each thing.

What nobody said is left out.  Durations are seconds; percentages are 0 to 100.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from mesh.model.destinations import Target
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.names import SIDECAR_SUFFIX
from mesh.model.requests import Match, PathMatch, QueryKind, QueryMatch
from mesh.model.traffic import WHOLE, Action, Forward, Redirect, Respond, Route
from mesh.render.parties import Connected, caller
from mesh.render.way import Callee, End, Way, walk
from mesh.routing.requests import Request
from mesh.world.snapshot import World

Json = dict[str, Any]

_NOTHING: Final[tuple[Any, ...]] = (None, "", (), {}, [])
_ROUTE_PARTS: Final = (
    "timeouts",
    "retry",
    "request_headers",
    "response_headers",
    "mirrors",
    "hashing",
    "cors",
)
_INBOUND_PARTS: Final = (
    "refusal",
    "timeouts",
    "limit",
    "global_limits",
    "fault",
    "token",
    "authorization",
)


def whole(
    world: World, source: tuple[str, str], service: str, request: Request, connected: Connected
) -> Json:
    """Follow ``request`` from ``source`` (a service and a proxy of it, or empty) to ``service``.

    Raises:
        UnknownProxyError: there is no such proxy.

    """
    need, others = caller(world, *source, connected)
    way = document(walk(world, need, service, request, connected))
    return {"proxy": need.id, "proxies_that_may_differ": list(others), "way": way}


def document(way: Way) -> Json:
    """Return all that is known of a call."""
    request = way.request
    return {
        "protocol": way.protocol.value,
        "request": {
            "method": request.method,
            "path": request.target,
            "headers": dict(request.headers),
        },
        "faults": [
            {
                "entry": fault.entry,
                "path": fault.violation.path,
                "message": fault.violation.message,
            }
            for fault in way.faults
        ],
        "routes": [
            {
                "match": match_text(route.match),
                "action": action_text(route.action),
                "document": route_document(route),
                "taken": place == way.chosen,
            }
            for place, route in enumerate(way.routes)
        ],
        "route": _route(way.route),
        "targets": [_end(end) for end in way.ends],
        "overruled": [{"field": field, "document": label} for field, label in way.losers],
    }


def route_document(route: Route) -> str:
    """Return which document made ``route``; empty if none did."""
    return route.origins.get("route", route.name)


def match_text(match: Match) -> str:
    """Write conditions on one line."""
    return " and ".join(_conditions(match)) or "everything"


def action_text(action: Action) -> str:
    """Write on one line what becomes of the requests."""
    if isinstance(action, Respond):
        return f"answer {action.status}"
    if isinstance(action, Redirect):
        return f"redirect {action.status}"
    if not action.shares:
        return "to nobody"
    return ", ".join(
        f"{share.target.name} {share.weight * 100 / WHOLE:g}%" for share in action.shares
    )


def plain(value: object) -> Any:
    """Return a value of the intermediate form as JSON, without what was not said."""
    if isinstance(value, Target | Match):
        return value.name if isinstance(value, Target) else match_text(value)
    if is_dataclass(value) and not isinstance(value, type):
        said = {
            field.name: plain(getattr(value, field.name))
            for field in fields(value)
            if field.name != "origins"
        }
        return {name: each for name, each in said.items() if each not in _NOTHING}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def _conditions(match: Match) -> Iterator[str]:
    if match.methods:
        yield f"method {' or '.join(match.methods)}"
    if match.path is not None:
        yield _path(match.path)
    yield from map(_header, match.headers)
    yield from map(_query, match.query)
    if match.callers:
        names = (f"{each.service}.{each.zone}".rstrip(".") for each in match.callers)
        yield f"caller {' or '.join(names)}"


def _path(path: PathMatch) -> str:
    return f"path {path.kind.value} {path.value}" + (" (any case)" if path.ignore_case else "")


def _header(header: HeaderMatch) -> str:
    words = ["header", header.name]
    if header.invert:
        words.append("not")
    words.append(header.kind.value)
    if header.kind is not HeaderMatchKind.PRESENT:
        words.append(header.value)
    return " ".join(words) + (" (any case)" if header.ignore_case else "")


def _query(query: QueryMatch) -> str:
    value = "" if query.kind is QueryKind.PRESENT else f" {query.value}"
    return f"query {query.name} {query.kind.value}{value}"


def _route(route: Route) -> Json:
    action = route.action
    said: Json = {"match": match_text(route.match), "document": route_document(route)}
    if isinstance(action, Forward):
        said |= {"path": plain(action.path), "host": action.host}
    else:
        kind = "redirect" if isinstance(action, Redirect) else "answer"
        said[kind] = plain(action)
    said |= {name: plain(getattr(route, name)) for name in _ROUTE_PARTS}
    said = {name: each for name, each in said.items() if each not in _NOTHING}
    return {**said, "origins": dict(route.origins)}


def _end(end: End) -> Json:
    destination = end.destination
    said: Json = {
        "target": end.share.target.name,
        "service": end.share.target.service,
        "subset": end.share.target.subset,
        "percent": end.percent,
        "protocol": destination.protocol.value,
        "allowed": end.verdict.allowed,
        "reason": end.verdict.reason,
        "refused_by": _refused_by(end),
        "request_headers": plain(end.share.request_headers),
        "response_headers": plain(end.share.response_headers),
        "settings": plain(destination.settings),
        "origins": dict(destination.settings.origins),
        "failover": [one.target.name for one in destination.failover],
        "external": plain(destination.external) if destination.external is not None else None,
        "egress": plain(end.exit) if end.exit is not None else None,
        "endpoints": [
            {
                "id": place.instance.id.removesuffix(SIDECAR_SUFFIX),
                "node": place.instance.node,
                "address": place.instance.address,
                "port": place.instance.port,
                "target": place.target.name,
                "health": place.instance.health.value,
                "weight": place.instance.weight,
                "locality": place.locality,
                "priority": place.priority,
                "standing": place.standing.value,
                "zone": place.zone,
                "gateway_for": place.sni,
                "egress": place.is_egress,
            }
            for place in end.places
        ],
        "unknown": list(end.unknown),
        "zones": [
            {
                "zone": one.zone.name,
                "distance_ms": one.zone.distance,
                "tried": one.is_tried,
                "why": one.verdict,
            }
            for one in end.others
        ],
        "callee": [_callee(callee) for callee in end.callees],
    }
    return said


def _refused_by(end: End) -> str:
    if end.is_closed:
        return "the caller's proxy"
    judge = "the egress gateway" if end.destination.selection.is_outside else "the callee's proxy"
    return "" if end.verdict.allowed or end.verdict.conditional else judge


def _callee(callee: Callee) -> Json:
    traffic, route = callee.traffic, callee.route
    said = {
        name: plain(getattr(traffic, name))
        for name in ("mode", "connect_timeout", "idle_timeout", "limits", "connection_rate")
    }
    result: Json = {
        "proxies": list(callee.proxies),
        **{name: each for name, each in said.items() if each not in _NOTHING},
        "origins": dict(traffic.origins),
        "route": None,
    }
    if route is not None:
        parts = {name: plain(getattr(route, name)) for name in _INBOUND_PARTS}
        result["route"] = {
            "match": match_text(route.match),
            **{name: each for name, each in parts.items() if each not in _NOTHING},
            "origins": dict(route.origins),
        }
    return result
