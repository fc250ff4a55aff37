"""Redirects that never end are refused, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.violations import InvalidInputError
from mesh.policies.kinds.http_route import KIND
from tests.policies.kinds import documents


def _match(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}, **more}


def _full(path: str, status: int = 302, **more: Any) -> dict[str, Any]:
    to = {"path": {"type": "ReplaceFullPath", "replaceFullPath": path}, "statusCode": status}
    return {"filters": [{"type": "RequestRedirect", "requestRedirect": to | more}]}


def _prefix(path: str) -> dict[str, Any]:
    to = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}}
    return {"filters": [{"type": "RequestRedirect", "requestRedirect": to}]}


def _lost(*rules: tuple[dict[str, Any], dict[str, Any]]) -> list[int]:
    """Return which of the rules (match, treatment) never end."""
    written = [{"matches": [match], "default": default} for match, default in rules]
    spec = {"to": [{"targetRef": documents.API, "rules": written}]}
    try:
        documents.read(KIND, spec)
    except InvalidInputError as error:
        return [int(each.path.split("[")[2].split("]")[0]) for each in error.violations]
    return []


_ALL = _match("PathPrefix", "/")
_GET: dict[str, Any] = {"method": "GET"}
_POST: dict[str, Any] = {"method": "POST"}


@pytest.mark.parametrize(
    "rules",
    [
        [(_match("Exact", "/a"), _full("/a"))],
        [(_ALL, _full("/a"))],
        [({"method": "GET"}, _full("/a"))],
        [(_match("PathPrefix", "/a"), _prefix("/a/b"))],
        [(_match("PathPrefix", "/a"), _prefix("/a"))],
        [(_match("Exact", "/a"), _full("/b")), (_match("Exact", "/b"), _full("/a"))],
        [(_match("Exact", "/a", **_GET), _full("/a"))],
        [(_match("Exact", "/a", **_POST), _full("/a", 307))],
        [(_match("Exact", "/a", headers=[{"name": "x", "value": "y"}]), _full("/a"))],
    ],
)
def test_a_redirect_that_never_ends_is_refused(rules: list[Any]) -> None:
    assert _lost(*rules) == list(range(len(rules)))


@pytest.mark.parametrize(
    "rules",
    [
        [(_match("Exact", "/a"), _full("/b"))],
        [(_match("PathPrefix", "/a"), _prefix("/b"))],
        [(_match("PathPrefix", "/a"), _prefix("/"))],
        # Another host or scheme is another matter.
        [(_ALL, _full("/a", scheme="https"))],
        [(_ALL, _full("/a", hostname="shop.example"))],
        # Post, redirect, get.
        [(_match("Exact", "/a", **_POST), _full("/a", 303))],
        # Something else holds for where it leads.
        [(_ALL, _full("/a")), (_match("Exact", "/a"), {})],
        [(_ALL, _full("/a/b")), (_match("PathPrefix", "/a"), {})],
        [(_ALL, _full("/a/b")), (_match("RegularExpression", "/a/.*"), {})],
        [(_match("RegularExpression", "/a.*"), _full("/a"))],
        # A long way is a way.
        [(_match("Exact", f"/{step}"), _full(f"/{step + 1}")) for step in range(10)],
    ],
)
def test_a_redirect_that_ends_is_fine(rules: list[Any]) -> None:
    assert _lost(*rules) == []


def test_only_the_redirects_that_lead_into_the_loop_are_named() -> None:
    assert _lost(
        (_match("Exact", "/fine"), _full("/there")),
        (_match("Exact", "/in"), _full("/a")),
        (_match("Exact", "/a"), _full("/b")),
        (_match("Exact", "/b"), _full("/a")),
    ) == [1, 2, 3]
