"""``Match.HTTP`` of a router's route.  Pure."""

from __future__ import annotations

import re
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.sources.consul.entries.fields import regex

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
_PATHS: Final = {
    "PathExact": PathKind.EXACT,
    "PathPrefix": PathKind.PREFIX,
    "PathRegex": PathKind.REGEX,
}
_HEADERS: Final = {
    "Exact": HeaderMatchKind.EXACT,
    "Prefix": HeaderMatchKind.PREFIX,
    "Suffix": HeaderMatchKind.SUFFIX,
    "Contains": HeaderMatchKind.CONTAINS,
    "Regex": HeaderMatchKind.REGEX,
}
_QUERIES: Final = {"Exact": QueryKind.EXACT, "Regex": QueryKind.REGEX}
_NAME: Final = re.compile(r":?[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def match(route: Fields) -> Match:
    """Return the conditions of ``route``; none given match every request."""
    said = route.child("Match")
    if said is None:
        return EVERYTHING
    http = said.child("HTTP")
    said.close()
    if http is None:
        return EVERYTHING
    found = Match(
        path=_path(http),
        methods=_methods(http),
        headers=tuple(_header(item) for item in http.children("Header")),
        query=tuple(_query(item) for item in http.children("QueryParam")),
    )
    http.close()
    return found


def _path(http: Fields) -> PathMatch | None:
    ignore_case = http.boolean("CaseInsensitive")
    given = [(name, kind, value) for name, kind in _PATHS.items() if (value := http.text(name))]
    if len(given) > 1:
        http.wrong("", f"has {' and '.join(name for name, _, _ in given)}; give one")
    for name, kind, value in given:
        if kind is PathKind.REGEX:
            regex(http, name, value)
        elif not value.startswith("/"):
            http.wrong(name, f"{value!r} must begin with '/'")
    return PathMatch(given[0][1], given[0][2], ignore_case) if given else None


def _methods(http: Fields) -> tuple[str, ...]:
    found = tuple(method.upper() for method in http.texts("Methods"))
    for index, method in enumerate(found):
        if method not in _METHODS:
            http.wrong(f"Methods[{index}]", f"{method!r} is not one of {', '.join(_METHODS)}")
        elif method in found[:index]:
            http.wrong(f"Methods[{index}]", f"{method!r} stands there twice")
    return found


def _header(item: Fields) -> HeaderMatch:
    name = item.text("Name", required=True)
    if name and not _NAME.fullmatch(name):
        item.wrong("Name", f"{name!r} is no name of a header")
    given = [
        (field, kind, value) for field, kind in _HEADERS.items() if (value := item.text(field))
    ]
    if item.boolean("Present"):
        given.append(("Present", HeaderMatchKind.PRESENT, ""))
    if len(given) != 1:
        wanted = "Present, Exact, Prefix, Suffix, Contains or Regex"
        item.wrong("", f"must have exactly one of {wanted}, has {len(given)}")
    for field, kind, value in given:
        if kind is HeaderMatchKind.REGEX:
            regex(item, field, value)
    _, kind, value = given[0] if given else ("", HeaderMatchKind.PRESENT, "")
    invert, ignore_case = item.boolean("Invert"), item.boolean("IgnoreCase")
    if ignore_case and kind in {HeaderMatchKind.PRESENT, HeaderMatchKind.REGEX}:
        item.wrong("IgnoreCase", f"is not possible with {kind.value.capitalize()}")
    item.close()
    return HeaderMatch(name.lower(), kind, value, invert, ignore_case)


def _query(item: Fields) -> QueryMatch:
    name = item.text("Name", required=True)
    given = [
        (field, kind, value) for field, kind in _QUERIES.items() if (value := item.text(field))
    ]
    if item.boolean("Present"):
        given.append(("Present", QueryKind.PRESENT, ""))
    if len(given) != 1:
        item.wrong("", f"must have exactly one of Present, Exact or Regex, has {len(given)}")
    for field, kind, value in given:
        if kind is QueryKind.REGEX:
            regex(item, field, value)
    _, kind, value = given[0] if given else ("", QueryKind.PRESENT, "")
    item.close()
    return QueryMatch(name, kind, value)
