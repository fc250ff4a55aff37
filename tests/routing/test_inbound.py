"""Rules of several kinds on one request: each kind has its first rule that matches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.inbound import PLAIN_INBOUND, InboundRoute
from mesh.model.requests import EVERYTHING, CallerMatch, Match, PathKind, PathMatch
from mesh.model.services import Protocol
from mesh.model.violations import InvalidInputError
from mesh.policies.document import Document, parse
from mesh.policies.merge import in_order
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.routing.conjunction import both
from mesh.routing.inbound import compile_inbound
from mesh.routing.requests import Request, first, holds
from mesh.world.snapshot import World

WORLD = World("dc1", "td", entries=Entries({"api": ServiceDefaults("api", Protocol.HTTP)}))
SELECTS: tuple[dict[str, Any], ...] = (
    {"kind": "Mesh"},
    {"kind": "Dataplane", "labels": {"service": "api"}},
    {"kind": "Dataplane", "labels": {"service": "api", "zone": "dc1"}},
)
FAR = 1000
"""How far apart the numbers of two documents are."""

_paths = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab", "/A", "/b"])
_path = st.one_of(
    st.builds(
        lambda kind, value: {"type": kind, "value": value},
        st.sampled_from(["Exact", "PathPrefix"]),
        _paths,
    ),
    st.sampled_from(["/a.*", "/[a-b]+/?", "/(a|b)", ".*b", "^/a/?b?$", "/[^/]*"]).map(
        lambda value: {"type": "RegularExpression", "value": value}
    ),
)
_header = st.builds(
    lambda kind, name: {"type": kind, "name": name} | ({"value": "1"} if kind == "Exact" else {}),
    st.sampled_from(["Exact", "Present", "Absent"]),
    st.sampled_from(["x-a", "X-B"]),
)
_condition = st.fixed_dictionaries(
    {},
    optional={
        "path": _path,
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.lists(_header, max_size=1),
        "queryParams": st.just([{"name": "q", "value": "1"}]),
        "source": st.sampled_from([{"service": "web"}, {"service": "web", "zone": "dc1"}]),
    },
)
_rules = st.lists(st.lists(_condition, max_size=2), min_size=1, max_size=3)
_documents = st.lists(_rules, max_size=2)
_requests = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.builds(
        str.__add__,
        _paths | st.sampled_from(["//a", "/a/../b", "/a%2Fb", "/%61/b", "/a;b", "/a/..;/b"]),
        st.sampled_from(["", "?q=1", "?q=2&q=1", "?b", "?/a"]),
    ),
    st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["1", "2"])),
    st.sampled_from(["web", "other", ""]),
    st.sampled_from(["dc1", "dc2"]),
)


def default(kind: str, number: int) -> dict[str, Any]:
    """Return what tells the rule ``number`` of ``kind`` from all others."""
    if kind == "MeshTimeout":
        return {"http": {"requestTimeout": f"{number}s"}}
    if kind == "MeshRequestAuthentication":
        return {"providers": [f"p{number}"]}
    return {"local": {"http": {"requestRate": {"num": number, "interval": "1s"}}}}


def told(kind: str, route: InboundRoute) -> int | None:
    """Return which rule of ``kind`` the route has."""
    if kind == "MeshTimeout":
        return None if route.timeouts.request is None else round(route.timeouts.request)
    if kind == "MeshRequestAuthentication":
        return None if route.token is None else int(route.token.providers[0][1:])
    return None if route.limit is None else route.limit.bucket.tokens


def documents(kind: str, found: list[list[list[dict[str, Any]]]]) -> Iterator[Document]:
    """Yield a document for each list of rules, each more particular than the one before."""
    for place, rules in enumerate(found, 1):
        written = [
            {"matches": matches, "default": default(kind, place * FAR + index)}
            for index, matches in enumerate(rules)
        ]
        spec = {"targetRef": SELECTS[place], "rules": written}
        yield parse({"type": kind, "name": f"d{place}", "spec": spec}, KINDS)


def expected(kind: str, said: Selection, request: Request) -> int | None:
    """Return the rule of ``kind`` that holds for ``request``: the particular document's first."""
    for place, document in sorted(enumerate(said.of(kind), 1), reverse=True):
        number = int(document.name[1:])
        assert place <= number
        for index, rule in enumerate(document.spec.rules):  # type: ignore[attr-defined] # of any kind
            forms = [match.form() for match in rule.matches] or [EVERYTHING]
            if any(holds(form, request) for form in forms):
                return number * FAR + index
    return None


@settings(deadline=None, max_examples=200)
@given(_documents, _documents, _documents, st.lists(_requests, min_size=1, max_size=12))
def test_each_kind_has_its_first_rule_that_matches(
    timeouts: Any, tokens: Any, limits: Any, requests: list[Request]
) -> None:
    by_kind = {
        "MeshTimeout": timeouts,
        "MeshRequestAuthentication": tokens,
        "MeshRateLimit": limits,
    }
    said = Selection(
        in_order(one for kind, found in by_kind.items() for one in documents(kind, found))
    )
    routes = compile_inbound(WORLD, said, "api").routes
    for request in requests:
        place = first((route.match for route in routes), request)
        route = PLAIN_INBOUND if place is None else routes[place]
        assert place is not None or not routes
        for kind in by_kind:
            assert told(kind, route) == expected(kind, said, request), (kind, request)


_any_path = st.builds(
    PathMatch,
    st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.SEGMENTS]),
    _paths,
    st.booleans(),
) | st.builds(PathMatch, st.just(PathKind.REGEX), st.just("/a.*"), st.booleans())
_matches = st.builds(
    Match,
    st.none() | _any_path,
    st.sampled_from([(), ("GET",), ("GET", "POST")]),
    callers=st.sampled_from(
        [(), (CallerMatch("web"),), (CallerMatch("web", "dc1"), CallerMatch("other"))]
    ),
)


@settings(deadline=None, max_examples=500)
@given(_matches, _matches, st.lists(_requests, min_size=1, max_size=12))
def test_two_conditions_as_one_hold_where_both_do(
    one: Match, other: Match, requests: list[Request]
) -> None:
    together = both(one, other)
    for request in requests:
        found = together is not None and holds(together, request)
        assert found == (holds(one, request) and holds(other, request)), (together, request)


def test_rules_for_other_requests_do_not_multiply() -> None:
    by_kind = {"MeshTimeout": "t", "MeshRequestAuthentication": "a", "MeshRateLimit": "l"}
    said = Selection(
        in_order(
            one
            for kind, letter in by_kind.items()
            for one in documents(
                kind,
                [[[{"path": {"type": "Exact", "value": f"/{letter}{n}"}}] for n in range(300)]],
            )
        )
    )
    routes = compile_inbound(WORLD, said, "api").routes
    assert len({route.match for route in routes}) == len(routes) == 3 * 300 + 1


def test_too_many_combinations_are_refused() -> None:
    headers = ([{"type": "Present", "name": f"{letter}{n}"}] for letter in "ab" for n in range(32))
    matches = [[{"headers": found}] for found in headers]
    said = Selection(
        in_order(
            (
                *documents("MeshTimeout", [matches[:32]]),
                *documents("MeshRateLimit", [matches[32:]]),
            )
        )
    )
    with pytest.raises(InvalidInputError, match="more than 1000 combinations"):
        compile_inbound(WORLD, said, "api")
