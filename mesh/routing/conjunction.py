"""Two conditions on a request as one.

Both must hold.  A route has room for one condition on the path; where neither of two implies the
other, the second is asked as a regular expression of the ``:path`` header, which has the query
behind it.
"""

from __future__ import annotations

import re
from typing import Final

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import CallerMatch, Match, PathKind, PathMatch
from mesh.routing.before_query import before_query

_QUERY: Final = r"(\?.*)?"


def both(one: Match, other: Match) -> Match | None:
    """Return what both match; None if nothing can be."""
    if one.is_everything:
        return other
    if other.is_everything:
        return one
    methods = _methods(one.methods, other.methods)
    callers = _callers(one.callers, other.callers)
    if methods is None or callers is None:
        return None
    headers = tuple(dict.fromkeys((*one.headers, *other.headers)))
    path = one.path or other.path
    if one.path is not None and other.path is not None:
        paths = _paths(one.path, other.path)
        if paths is None:
            return None
        path, *rest = paths
        headers = (*headers, *map(as_header, rest))
    query = tuple(dict.fromkeys((*one.query, *other.query)))
    return Match(path, methods, headers, query, callers)


def _methods(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...] | None:
    if not one or not other:
        return one or other
    return tuple(method for method in one if method in other) or None


def _callers(
    one: tuple[CallerMatch, ...], other: tuple[CallerMatch, ...]
) -> tuple[CallerMatch, ...] | None:
    if not one or not other:
        return one or other
    found = [
        CallerMatch(mine.service, mine.zone or theirs.zone)
        for mine in one
        for theirs in other
        if mine.service == theirs.service
        and (not mine.zone or not theirs.zone or mine.zone == theirs.zone)
    ]
    return tuple(dict.fromkeys(found)) or None


def _paths(one: PathMatch, other: PathMatch) -> tuple[PathMatch, ...] | None:
    """Return the narrower of two, or both where neither implies the other; None if disjoint."""
    if one == other:
        return (one,)
    for narrow, wide in ((one, other), (other, one)):
        if PathKind.REGEX in {narrow.kind, wide.kind} or narrow.ignore_case or wide.ignore_case:
            continue
        if _covers(wide, narrow):
            return (narrow,)
    if {one.kind, other.kind} <= {PathKind.EXACT, PathKind.SEGMENTS, PathKind.PREFIX} and not (
        one.ignore_case or other.ignore_case
    ):
        return _overlap(one, other)
    # What a regular expression matches is only known when it is asked: of the path, if it can be.
    return (other, one) if other.kind is PathKind.REGEX else (one, other)


def _overlap(one: PathMatch, other: PathMatch) -> tuple[PathMatch, ...] | None:
    prefix = PathKind.PREFIX
    if one.kind is not prefix and other.kind is not prefix:
        return None
    # "/a" by segments and "/a/b" by characters overlap in what starts with both.
    starts = one.value.startswith(other.value) or other.value.startswith(one.value)
    exact = PathKind.EXACT in {one.kind, other.kind}
    return (one, other) if starts and not exact else None


def _covers(wide: PathMatch, narrow: PathMatch) -> bool:
    """Whether everything that ``narrow`` matches ``wide`` does."""
    if wide.kind is PathKind.EXACT:
        return narrow == wide
    if wide.kind is PathKind.PREFIX:
        # By segments "/a/" matches "/a" as well.
        cut = narrow.kind is PathKind.SEGMENTS
        start = (narrow.value.rstrip("/") or "/") if cut else narrow.value
        return start.startswith(wide.value)
    root = wide.value.rstrip("/")
    if narrow.kind is PathKind.PREFIX:
        return narrow.value.startswith(f"{root}/")
    return narrow.value == root or narrow.value.startswith(f"{root}/") or not root


def as_header(path: PathMatch) -> HeaderMatch:
    """Return the condition on the path as one on ``:path``, whatever query is behind it."""
    insensitive = "(?i)" if path.ignore_case else ""
    expression = f"{insensitive}{_expression(path)}"
    return HeaderMatch(":path", HeaderMatchKind.REGEX, expression)


def _expression(path: PathMatch) -> str:
    if path.kind is PathKind.REGEX:
        return before_query(path.value)
    if path.kind is PathKind.SEGMENTS:
        return f"{re.escape(path.value.rstrip('/'))}(/[^?]*)?{_QUERY}"
    rest = "[^?]*" if path.kind is PathKind.PREFIX else ""
    return f"{re.escape(path.value)}{rest}{_QUERY}"
