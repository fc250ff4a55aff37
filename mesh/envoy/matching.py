"""Conditions on a request, as Envoy's route matchers.

Both sides of a call use them: the caller's routes and the callee's.  Who called can be told on
the callee's side only, from ``x-forwarded-client-cert`` as the inbound connection manager sets
it: with ``SANITIZE_SET`` Envoy throws away what the peer sent and writes the header from the
certificate that the handshake verified, before it looks for a route; where there was no
certificate the header is gone.  The expression here is anchored to the whole of that one
element, so that nothing in front of it and nothing behind it can be mistaken for the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

from mesh.envoy.rbac import quoted
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import CallerMatch, Match, PathKind, PathMatch, QueryKind, QueryMatch

CLIENT_CERTIFICATE: Final = "x-forwarded-client-cert"
"""The header in which Envoy tells whom the handshake verified."""

_METHOD: Final = ":method"
_ELEMENT: Final = "^(?:By=[^;,]*;)?Hash=[0-9a-f]+;URI=spiffe://{domain}/ns/default/dc/{who}$"
_ANY: Final = "[^/;,]+"


def route_match(match: Match, *, trust_domain: str = "") -> Any:
    """Return the RouteMatch of ``match``.

    Raises:
        ValueError: callers are told apart, but not by which trust domain.

    """
    result = route_components_pb2.RouteMatch()
    _path(result, match.path)
    result.headers.extend(header(each) for each in match.headers)
    if match.methods:
        result.headers.append(by_methods(match.methods))
    if match.callers:
        if not trust_domain:
            raise ValueError("callers are identities of a trust domain: name it")
        result.headers.append(_by_callers(match.callers, trust_domain))
    result.query_parameters.extend(_query(each) for each in match.query)
    return result


def header(match: HeaderMatch) -> Any:
    """Return the HeaderMatcher of ``match``."""
    result = route_components_pb2.HeaderMatcher(name=match.name, invert_match=match.invert)
    if match.kind is HeaderMatchKind.PRESENT:
        result.present_match = True
    else:
        result.string_match.CopyFrom(
            text(match.kind.value, match.value, ignore_case=match.ignore_case)
        )
    return result


def by_methods(methods: Sequence[str]) -> Any:
    """Return the HeaderMatcher of requests made with one of ``methods``."""
    return route_components_pb2.HeaderMatcher(name=_METHOD, string_match=one_of(methods))


def one_of(values: Sequence[str]) -> Any:
    """Return the StringMatcher of exactly one of ``values``."""
    if len(values) == 1:
        return text("exact", values[0])
    return text("regex", "|".join(quoted(value) for value in values))


def text(kind: str, value: str, *, ignore_case: bool = False) -> Any:
    """Return a StringMatcher; ``kind`` is one of its fields, or ``regex`` (RE2, the whole)."""
    if kind == "regex":
        matcher = string_pb2.StringMatcher()
        matcher.safe_regex.regex = _expression(value, ignore_case=ignore_case)
        return matcher
    return string_pb2.StringMatcher(ignore_case=ignore_case, **{kind: value})


def segments(prefix: str) -> str:
    """Return ``prefix`` as whole segments: without the slashes at its end; ``/`` is empty."""
    return prefix.rstrip("/")


def _path(result: Any, path: PathMatch | None) -> None:
    """Put the condition on the path, which Envoy compares without the query, into ``result``."""
    if path is None:
        result.prefix = "/"
        return
    if path.kind is PathKind.REGEX:
        result.safe_regex.regex = _expression(path.value, ignore_case=path.ignore_case)
        return
    if path.kind is PathKind.EXACT:
        result.path = path.value
    elif path.kind is PathKind.PREFIX:
        result.prefix = path.value
    elif whole := segments(path.value):
        result.path_separated_prefix = whole
    else:
        result.prefix = "/"
    if path.ignore_case:
        result.case_sensitive.value = False


def _expression(regex: str, *, ignore_case: bool) -> str:
    """Return ``regex`` with the case told inside it: Envoy's own switches pass expressions by."""
    return f"(?i:{regex})" if ignore_case else regex


def _query(match: QueryMatch) -> Any:
    result = route_components_pb2.QueryParameterMatcher(name=match.name)
    if match.kind is QueryKind.PRESENT:
        result.present_match = True
    else:
        result.string_match.CopyFrom(text(match.kind.value, match.value))
    return result


def _by_callers(callers: Sequence[CallerMatch], trust_domain: str) -> Any:
    each = [
        f"{quoted(caller.zone) if caller.zone else _ANY}/svc/{quoted(caller.service)}"
        for caller in callers
    ]
    expression = _ELEMENT.format(domain=quoted(trust_domain), who=f"(?:{'|'.join(each)})")
    return route_components_pb2.HeaderMatcher(
        name=CLIENT_CERTIFICATE, string_match=text("regex", expression)
    )
