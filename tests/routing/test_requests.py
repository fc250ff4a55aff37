"""Which route a request takes: what is computed here, and what a real Envoy does."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    CallerMatch,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.model.traffic import Respond, Route
from mesh.routing.conjunction import both
from mesh.routing.requests import Request, first, holds
from tests.envoy.place import HOST, envoy, table_listeners

TABLES = 40
"""Route tables that one Envoy is asked about."""
ROUTES = 5
REQUESTS = 12

_words = st.sampled_from(["a", "b", "ab", "A", "a.b", "a%62", "a%20b", ""])
_paths = st.lists(_words, max_size=3).map(lambda parts: "/" + "/".join(parts))
_odd = st.sampled_from(["//a", "/a//b", "/a/./b", "/a/../b", "/a%2Fb", "/a/", "/%61", "/a;x=1"])
_names = st.sampled_from(["x-a", "X-B"])
_values = st.sampled_from(["1", "one", "One", "two,one", "on"])
_regexes = st.sampled_from(
    ["/a.*", "/[a-b]+", "(/a|/b)", "/a/?b?", ".*b", "^/a$", r"/[^/]*\z", r"\S+", r"/[\w/?]*|/b$"]
)

_path_matches = st.one_of(
    st.builds(
        PathMatch,
        st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.SEGMENTS]),
        _paths,
        st.booleans(),
    ),
    st.builds(PathMatch, st.just(PathKind.REGEX), _regexes, st.booleans()),
)
_header_matches = st.one_of(
    st.builds(HeaderMatch, _names, st.just(HeaderMatchKind.PRESENT), invert=st.booleans()),
    st.builds(
        HeaderMatch,
        _names,
        st.sampled_from(
            [
                HeaderMatchKind.EXACT,
                HeaderMatchKind.PREFIX,
                HeaderMatchKind.SUFFIX,
                HeaderMatchKind.CONTAINS,
            ]
        ),
        _values,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        HeaderMatch,
        st.sampled_from(["x-a", ":path"]),
        st.just(HeaderMatchKind.REGEX),
        st.sampled_from(["o.*", "[a-z]+", "/a.*", r"/a(\?.*)?"]),
        st.booleans(),
        st.booleans(),
    ),
)
_query_matches = st.one_of(
    st.builds(QueryMatch, st.sampled_from(["q", "p"]), st.just(QueryKind.PRESENT)),
    st.builds(QueryMatch, st.sampled_from(["q", "p"]), st.just(QueryKind.EXACT), _values),
    st.builds(
        QueryMatch,
        st.sampled_from(["q", "p"]),
        st.just(QueryKind.REGEX),
        st.sampled_from(["o.*", "[0-9]"]),
    ),
)
_matches = st.builds(
    Match,
    st.none() | _path_matches,
    st.sampled_from([(), ("GET",), ("POST",), ("GET", "PUT")]),
    st.lists(_header_matches, max_size=2).map(tuple),
    st.lists(_query_matches, max_size=1).map(tuple),
)
_combined = st.tuples(_matches, _matches).map(lambda two: both(*two) or two[0])
_tables = st.lists(_matches | _combined, min_size=1, max_size=ROUTES).map(
    lambda found: [*found, EVERYTHING]
)
_queries = st.sampled_from(
    ["", "?", "?q=1", "?q=one&q=1", "?p&q=on%65", "?q", "?qq=1&p=one", "?p=1=2", "?&q=two,one"]
)
_requests = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.tuples(_paths | _odd, _queries).map("".join),
    st.dictionaries(st.sampled_from(["x-a", "x-b"]), _values, max_size=2),
)


def test_no_condition_matches_everything() -> None:
    assert holds(EVERYTHING, Request("DELETE", "/x?y", {"z": "1"}))


def test_callers_are_told_by_their_service_and_zone() -> None:
    match = Match(callers=(CallerMatch("web"), CallerMatch("admin", "dc2")))
    assert holds(match, Request(caller="web", zone="dc1"))
    assert holds(match, Request(caller="admin", zone="dc2"))
    assert not holds(match, Request(caller="admin", zone="dc1"))
    assert not holds(match, Request())


def test_the_first_that_holds_is_taken() -> None:
    exact = Match(PathMatch(PathKind.EXACT, "/a"))
    assert first([exact, EVERYTHING], Request(target="/a?q=1")) == 0
    assert first([exact, EVERYTHING], Request(target="/a/")) == 1
    assert first([exact], Request(target="/b")) is None


def _generated(count: int) -> tuple[list[list[Match]], list[list[Request]]]:
    """Draw route tables, and requests for each."""
    tables: list[list[Match]] = []
    requests: list[list[Request]] = []

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_tables, st.lists(_requests, min_size=REQUESTS, max_size=REQUESTS))
    def draw(table: list[Match], asked: list[Request]) -> None:
        tables.append(table)
        requests.append(asked)

    draw()
    return tables[:count], requests[:count]


@pytest.mark.e2e
async def test_envoy_takes_the_route_that_is_computed(tmp_path: Path) -> None:
    tables, requests = _generated(TABLES)
    listeners = table_listeners(
        {f"table-{number}": _numbered(table) for number, table in enumerate(tables)}
    )
    wrong: list[str] = []
    taken: set[int] = set()
    async with envoy(tmp_path, listeners, []) as place:
        for number, (table, asked) in enumerate(zip(tables, requests, strict=True)):
            port = place.ports[f"table-{number}"]
            for request in asked:
                answer = await asyncio.to_thread(_ask, port, request)
                expected = first(table, request)
                taken.add(answer)
                if expected != answer:
                    wrong.append(f"{request}: Envoy {answer}, here {expected}: {table}")
    assert wrong == []
    # It would prove little if every request took the last route.
    assert len(taken) == ROUTES + 1


def _numbered(table: Sequence[Match]) -> list[Route]:
    return [Route(match, Respond(200, f"{place}")) for place, match in enumerate(table)]


def _ask(port: int, request: Request) -> int:
    # Not through a client that would write the path its own way.
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.putrequest(request.method, request.target)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return int(connection.getresponse().read())
    finally:
        connection.close()
