"""MeshHTTPRoute: what becomes of the requests to a service, told by what they are.

A document's rules become routes, one for each match.  Whoever composes the routes of several
documents sorts them by precedence (``in_precedence``), so that the order in which people write
rules never matters.

Source: Kuma's MeshHTTPRoute; Gateway API's HTTPRoute and GRPCRoute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pydantic import Field

from mesh.model.requests import EVERYTHING, Match, PathKind
from mesh.model.traffic import Forward, Route
from mesh.policies.backends import BackendRef, CalledRef, shares
from mesh.policies.document import Document
from mesh.policies.kind import Kind, Violations
from mesh.policies.kinds.http_route.filters import Filter, PrefixPath
from mesh.policies.kinds.http_route.precedence import in_precedence
from mesh.policies.kinds.http_route.redirects import endless
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec
from mesh.policies.units import MatchModel, indexed

__all__ = ["KIND", "HttpRouteSpec", "in_precedence", "routes"]


class Treatment(Strict):
    """What is done with the requests that match."""

    filters: tuple[Filter, ...] = ()
    """What is changed, copied or answered."""
    backend_refs: tuple[BackendRef, ...] | None = None
    """Who gets the requests; absent, it is the service that was called."""


class HttpRule(Strict):
    """Some requests, and what is done with them."""

    matches: tuple[MatchModel, ...] = ()
    """Any of them; absent, it is every request."""
    default: Treatment
    """What is done with them."""


class HttpTo(Strict):
    """The rules for one service that is called."""

    target_ref: CalledRef
    """Who is called."""
    rules: tuple[HttpRule, ...] = Field(min_length=1)
    """The rules; which of them holds for a request is settled by Gateway API's precedence."""


class HttpRouteSpec(Spec):
    """The ``spec`` of MeshHTTPRoute."""

    to: tuple[HttpTo, ...] = Field(min_length=1)
    """The services whose requests are routed."""


def routes(document: Document, service: str) -> tuple[Route, ...]:
    """Return what ``document`` makes of the requests to ``service``, in the document's order."""
    spec = document.spec
    if not isinstance(spec, HttpRouteSpec):
        raise TypeError(f"{document.label} is no MeshHTTPRoute")
    found: list[Route] = []
    for _, rule in _rules(spec, service):
        said = {"route", *(each.sets for each in rule.default.filters)}
        if rule.default.backend_refs is not None:
            said.add("action")
        origins = dict.fromkeys(sorted(said), document.label)
        for match in _matches(rule):
            route = _route(rule.default, match, service)
            found.append(replace(route, name=document.name, origins=origins))
    return tuple(found)


def _rules(spec: HttpRouteSpec, service: str) -> Iterator[tuple[str, HttpRule]]:
    for index, to in enumerate(spec.to):
        if to.target_ref.covers(service):
            for place, at in indexed(f"to[{index}].rules", to.rules):
                yield place, to.rules[at]


def _matches(rule: HttpRule) -> tuple[Match, ...]:
    return tuple(match.form() for match in rule.matches) or (EVERYTHING,)


def _route(treatment: Treatment, match: Match, service: str) -> Route:
    route = Route(match, Forward(shares(treatment.backend_refs, service)))
    for each in treatment.filters:
        route = each.on(route)
    return route


def _check(spec: HttpRouteSpec) -> Violations:
    for index, to in enumerate(spec.to):
        for place, at in indexed(f"to[{index}].rules", to.rules):
            yield from _check_treatment(f"{place}.default", to.rules[at])
    for service in dict.fromkeys(to.target_ref.name for to in spec.to):
        yield from _check_matches(spec, service)


def _check_treatment(place: str, rule: HttpRule) -> Violations:
    filters = rule.default.filters
    answering = [each.type for each in filters if each.answers]
    often = Counter(each.type for each in filters)
    if len(set(answering)) > 1:
        yield f"{place}.filters", f"only one of {' and '.join(answering)} can answer"
    for kind, count in often.items():
        if count > 1 and kind != "RequestMirror":
            yield f"{place}.filters", f"{kind} is given {count} times"
    if answering:
        if rule.default.backend_refs is not None:
            yield f"{place}.backendRefs", f"{answering[0]} answers: nobody is asked"
        for at, each in enumerate(filters):
            if each.type in {"RequestMirror", "URLRewrite"}:
                yield f"{place}.filters[{at}]", f"{answering[0]} answers: nobody is asked"
    by_prefix = all(match.path and match.path.type == "PathPrefix" for match in rule.matches)
    for at, each in enumerate(filters):
        if isinstance(each.new_path, PrefixPath) and not (rule.matches and by_prefix):
            wrong = "ReplacePrefixMatch needs a path of type PathPrefix in every match"
            yield f"{place}.filters[{at}]", wrong


def _check_matches(spec: HttpRouteSpec, service: str) -> Violations:
    first: dict[Match, str] = {}
    by_place: dict[str, Route] = {}
    for rule_place, rule in _rules(spec, service):
        for index, match in enumerate(_matches(rule)):
            place = f"{rule_place}.matches[{index}]" if rule.matches else rule_place
            same = first.setdefault(_canonical(match), place)
            if same != place:
                yield place, f"the same requests as {same}: only one of the two can hold"
            by_place[place] = _route(rule.default, match, service)
    lost = endless(by_place.values())
    for place, route in by_place.items():
        if route in lost:
            yield place, "the redirect never ends: it leads from redirect to redirect"


def _canonical(match: Match) -> Match:
    """Write conditions that mean the same in the same way."""
    path = match.path
    if path and path.kind is PathKind.SEGMENTS and path.value == "/":
        path = None
    return replace(
        match,
        path=path,
        headers=tuple(sorted(set(match.headers), key=repr)),
        query=tuple(sorted(set(match.query), key=repr)),
    )


KIND: Final = Kind(
    name="MeshHTTPRoute",
    summary="Where requests go, by path, method, header or query, by weight, and how changed.",
    spec=HttpRouteSpec,
    check=_check,
    example="""\
type: MeshHTTPRoute
name: api-canary
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches:
            - path: {type: PathPrefix, value: /v2}
              headers: [{name: x-tester, value: "yes"}]
          default:
            filters:
              - type: URLRewrite
                urlRewrite:
                  path: {type: ReplacePrefixMatch, replacePrefixMatch: /}
              - type: RequestHeaderModifier
                requestHeaderModifier:
                  set: [{name: x-canary, value: "1"}]
            backendRefs:
              - {kind: MeshService, name: api, weight: 100}
              - {kind: MeshService, name: api-canary, weight: 0}
        - matches:
            - path: {type: Exact, value: /old}
          default:
            filters:
              - type: RequestRedirect
                requestRedirect:
                  path: {type: ReplaceFullPath, replaceFullPath: /new}
                  statusCode: 301
""",
)
