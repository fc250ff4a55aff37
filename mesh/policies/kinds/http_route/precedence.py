"""Which of several matching routes holds: Gateway API's precedence, whatever their order.

An exact path comes first, then the longest prefix, then regular expressions, then what says
nothing of the path (``PathPrefix`` ``/`` included, or no expression would ever be reached).
Among equals a method, then more headers, then more query parameters; then the order given.

Source: Gateway API's reference, HTTPRouteRule ``matches``.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.model.requests import Match, PathKind
from mesh.model.traffic import Route

_EXACT, _PREFIX, _REGEX, _ANY = range(4)


def in_precedence(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Sort ``routes`` so that the first that matches a request is the one that holds."""
    return tuple(sorted(routes, key=lambda route: rank(route.match)))


def rank(match: Match) -> tuple[int, ...]:
    """Return what ``match`` is sorted by; the smaller comes first."""
    return (
        *_path(match),
        -bool(match.methods),
        -len(match.headers),
        -len(match.query),
    )


def _path(match: Match) -> tuple[int, int]:
    path = match.path
    if path is None or (path.kind in {PathKind.PREFIX, PathKind.SEGMENTS} and path.value == "/"):
        return _ANY, 0
    if path.kind is PathKind.EXACT:
        return _EXACT, 0
    if path.kind is PathKind.REGEX:
        return _REGEX, 0
    return _PREFIX, -len(path.value)
