"""Gateway API's precedence: a total order, whatever the order of the rules."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import EVERYTHING, Match, PathKind, PathMatch, QueryKind, QueryMatch
from mesh.model.traffic import Respond, Route
from mesh.policies.kinds.http_route import in_precedence
from mesh.policies.kinds.http_route.precedence import rank

_paths = st.builds(
    PathMatch, kind=st.sampled_from(PathKind), value=st.sampled_from(("/", "/a", "/b", "/a/b"))
)
_headers = st.sampled_from([HeaderMatch(name, HeaderMatchKind.PRESENT) for name in ("x", "y", "z")])
_queries = st.sampled_from([QueryMatch(name, QueryKind.PRESENT) for name in ("p", "q")])
_matches = st.builds(
    Match,
    path=st.none() | _paths,
    methods=st.sampled_from(((), ("GET",), ("POST",))),
    headers=st.lists(_headers, unique=True).map(tuple),
    query=st.lists(_queries, unique=True).map(tuple),
)


def _route(match: Match, status: int = 200) -> Route:
    return Route(match, Respond(status))


def _path(kind: PathKind, value: str) -> Match:
    return Match(path=PathMatch(kind, value))


def test_the_particular_comes_before_the_general() -> None:
    header = HeaderMatch("x", HeaderMatchKind.PRESENT)
    other = HeaderMatch("y", HeaderMatchKind.PRESENT)
    query = QueryMatch("p", QueryKind.PRESENT)
    expected = [
        _route(match)
        for match in (
            Match(path=PathMatch(PathKind.EXACT, "/a"), methods=("GET",)),
            _path(PathKind.EXACT, "/a/b/c"),
            _path(PathKind.SEGMENTS, "/a/b"),
            _path(PathKind.SEGMENTS, "/a"),
            _path(PathKind.REGEX, "/.*"),
            Match(methods=("GET",)),
            Match(headers=(header, other)),
            Match(headers=(header,), query=(query,)),
            Match(headers=(header,)),
            Match(query=(query,)),
            _path(PathKind.SEGMENTS, "/"),
            EVERYTHING,
        )
    ]

    # All but the last two differ in rank.
    assert list(in_precedence([*reversed(expected[:-2]), *expected[-2:]])) == expected


def test_a_regular_expression_is_reached_beside_a_prefix_of_everything() -> None:
    everything, regex = _path(PathKind.SEGMENTS, "/"), _path(PathKind.REGEX, "/v[0-9]+/.*")

    found = in_precedence([_route(everything), _route(regex)])

    assert [route.match for route in found] == [regex, everything]


@given(st.lists(_matches, max_size=8))
def test_the_order_is_total_and_equals_keep_theirs(matches: list[Match]) -> None:
    routes = [_route(match, 200 + index) for index, match in enumerate(matches)]
    found = in_precedence(routes)

    assert sorted(map(routes.index, found)) == list(range(len(routes)))
    for before, after in itertools.combinations(found, 2):
        assert not _precedes(after.match, before.match)
        if not _precedes(before.match, after.match):
            assert routes.index(before) < routes.index(after)


@given(st.lists(_matches, max_size=8), st.data())
def test_the_order_of_the_rules_matters_between_equals_only(
    matches: list[Match], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(matches))

    ranks = [rank(route.match) for route in in_precedence(map(_route, matches))]

    assert ranks == [rank(route.match) for route in in_precedence(map(_route, shuffled))]


@given(_matches, _matches, _matches)
def test_any_two_compare_and_any_three_agree(one: Match, two: Match, three: Match) -> None:
    assert not (_precedes(one, two) and _precedes(two, one))
    if _precedes(one, two) and _precedes(two, three):
        assert _precedes(one, three)
    assert _precedes(one, two) == (rank(one) < rank(two))


def _precedes(one: Match, two: Match) -> bool:
    """Gateway API's sentences, one after the other."""
    if _class_of(one) != _class_of(two):
        return _class_of(one) < _class_of(two)
    for mine, its in (
        (_length(one), _length(two)),
        (len(one.methods), len(two.methods)),
        (len(one.headers), len(two.headers)),
        (len(one.query), len(two.query)),
    ):
        if mine != its:
            return mine > its
    return False


def _class_of(match: Match) -> str:
    if match.path is None:
        return "4 nothing said"
    if match.path.kind is PathKind.EXACT:
        return "1 exact"
    if match.path.kind is PathKind.REGEX:
        return "3 regular expression"
    return "4 nothing said" if match.path.value == "/" else "2 prefix"


def _length(match: Match) -> int:
    return len(match.path.value) if match.path and _class_of(match) == "2 prefix" else 0
