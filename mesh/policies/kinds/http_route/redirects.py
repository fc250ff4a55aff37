"""Redirects that lead back to themselves, found before a client follows one.

Only what a path tells is followed: a redirect to another scheme, host or port leaves the routes,
and a regular expression is not evaluated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from mesh.model.requests import EVERYTHING, Match, PathKind, PathMatch
from mesh.model.traffic import Redirect, RewriteKind, Route
from mesh.policies.kinds.http_route.precedence import in_precedence

_PATIENCE: Final = 20
"""Redirects in a row, after which browsers give up."""


def endless(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return those of ``routes`` (all those of one service) whose redirect never ends."""
    ordered = in_precedence(routes)
    redirects = [route for route in ordered if isinstance(route.action, Redirect)]
    return tuple(route for route in redirects if _is_endless(route, ordered))


def _is_endless(start: Route, ordered: Sequence[Route]) -> bool:
    # A client sends the same headers again; what depends on others may not hold for it.
    conditions = {EVERYTHING}
    if _keeps_method(start):
        conditions.add(replace(start.match, path=None))
    likely = [route for route in ordered if replace(route.match, path=None) in conditions]
    path = _followed(_sample(start.match.path), start)
    for _ in range(_PATIENCE):
        if path is None:
            return False
        path = _followed(path, _first(path, likely))
    return path is not None


def _keeps_method(route: Route) -> bool:
    if isinstance(route.action, Redirect) and route.action.status in {307, 308}:
        return True
    return not set(route.match.methods) - {"GET", "HEAD"}


def _sample(path: PathMatch | None) -> str | None:
    if path is None:
        return "/"
    return None if path.kind is PathKind.REGEX else path.value


def _first(path: str, routes: Iterable[Route]) -> Route | None:
    return next((route for route in routes if _may_match(path, route.match)), None)


def _followed(path: str | None, route: Route | None) -> str | None:
    """Return where ``route`` sends a request for ``path``; None if it is answered or leaves."""
    if path is None or route is None or not isinstance(route.action, Redirect):
        return None
    matched, to = route.match.path, route.action
    if to.scheme or to.host or to.port or (matched and matched.kind is PathKind.REGEX):
        return None
    if to.path is None:
        return path
    if to.path.kind is RewriteKind.FULL:
        return to.path.value
    rest = path.removeprefix(matched.value if matched else "/").lstrip("/")
    return f"{to.path.value.rstrip('/')}/{rest}" if rest else to.path.value


def _may_match(path: str, match: Match) -> bool:
    wanted = match.path
    if wanted is None:
        return True
    if wanted.kind is PathKind.EXACT:
        return path == wanted.value
    if wanted.kind is PathKind.PREFIX:
        return path.startswith(wanted.value)
    if wanted.kind is PathKind.SEGMENTS:
        return path == wanted.value or path.startswith(f"{wanted.value.rstrip('/')}/")
    return True
