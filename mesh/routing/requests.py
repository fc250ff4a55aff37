"""Which route a request takes: the intermediate form's conditions, asked as Envoy asks them.

Envoy goes through the routes in order and takes the first of which every condition holds.  What it
compares is the path without its query, normalised (see ``policies.intentions.paths``); of a query
parameter given twice the first counts, and nothing of a query is decoded; a header sent several
times is one value, joined by commas.  That this and Envoy agree is held by
``tests/routing/test_requests.py``, which asks a real Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import CallerMatch, Match, PathKind, PathMatch, QueryKind, QueryMatch
from mesh.policies.intentions.matching import header_matches
from mesh.policies.intentions.paths import normalise
from mesh.policies.intentions.re2 import full_match

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """One request.  ``target`` is the path with its query; header names are lower-case.

    ``caller`` and ``zone`` are the proven identity of who calls, which the callee's side knows.
    """

    method: str = "GET"
    target: str = "/"
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    caller: str = ""
    zone: str = ""


def holds(match: Match, request: Request) -> bool:
    """Say whether every condition of ``match`` holds for ``request``."""
    return (
        (match.path is None or _path(match.path, normalise(request.target)))
        and (not match.methods or request.method in match.methods)
        and all(_header(each, request) for each in match.headers)
        and all(_query(each, request.target) for each in match.query)
        and (not match.callers or any(_caller(each, request) for each in match.callers))
    )


def first(matches: Iterable[Match], request: Request) -> int | None:
    """Return the place of the first of ``matches`` that holds for ``request``."""
    return next((place for place, each in enumerate(matches) if holds(each, request)), None)


def _path(match: PathMatch, path: str) -> bool:
    wanted = match.value
    if match.kind is PathKind.REGEX:
        return full_match(_expression(wanted, ignore_case=match.ignore_case), path)
    if match.ignore_case:
        wanted, path = wanted.lower(), path.lower()
    if match.kind is PathKind.EXACT:
        return path == wanted
    if match.kind is PathKind.PREFIX:
        return path.startswith(wanted)
    root = wanted.rstrip("/")
    return path == root or path.startswith(f"{root}/")


def _header(match: HeaderMatch, request: Request) -> bool:
    if match.kind is HeaderMatchKind.REGEX and match.ignore_case:
        match = replace(match, value=_expression(match.value, ignore_case=True))
    _, mark, query = request.target.partition("?")
    pseudo = {":method": request.method, ":path": f"{normalise(request.target)}{mark}{query}"}
    return header_matches(match, {**request.headers, **pseudo})


def _query(match: QueryMatch, target: str) -> bool:
    value = _parameters(target).get(match.name)
    if value is None or match.kind is QueryKind.PRESENT:
        return value is not None
    if match.kind is QueryKind.REGEX:
        return full_match(match.value, value)
    return value == match.value


def _parameters(target: str) -> dict[str, str]:
    query = target.partition("#")[0].partition("?")[2]
    found: dict[str, str] = {}
    for each in filter(None, query.split("&")):
        name, _, value = each.partition("=")
        found.setdefault(name, value)
    return found


def _caller(match: CallerMatch, request: Request) -> bool:
    return match.service == request.caller and match.zone in ("", request.zone)


def _expression(regex: str, *, ignore_case: bool) -> str:
    return f"(?i:{regex})" if ignore_case else regex
