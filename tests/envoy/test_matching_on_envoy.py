"""Route tables on a real Envoy: which route a request takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.model.traffic import (
    Respond,
    Route,
)
from tests.envoy.paths import path
from tests.envoy.place import Place, envoy, table_listeners

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def wearing(kind: HeaderMatchKind, value: str = "", **more: bool) -> Match:
    return Match(headers=(HeaderMatch("x-a", kind, value, **more),))


MATCHES: Final = {
    "exact": path(PathKind.EXACT, "/exact"),
    "exact-any-case": path(PathKind.EXACT, "/Case", ignore_case=True),
    "prefix": path(PathKind.PREFIX, "/pre"),
    "segments": path(PathKind.SEGMENTS, "/seg"),
    "segments-slash": path(PathKind.SEGMENTS, "/slash/"),
    "segments-any-case": path(PathKind.SEGMENTS, "/Folder", ignore_case=True),
    "regex": path(PathKind.REGEX, "/r/[0-9]+"),
    "regex-any-case": path(PathKind.REGEX, "/x/[a-z]+|/y", ignore_case=True),
    "method": Match(methods=("PUT",)),
    "methods": Match(methods=("PATCH", "DELETE")),
    "header": wearing(HeaderMatchKind.EXACT, "1"),
    "header-prefix": wearing(HeaderMatchKind.PREFIX, "Two", ignore_case=True),
    "header-regex": wearing(HeaderMatchKind.REGEX, "[0-9]{3}"),
    "header-contains": wearing(HeaderMatchKind.CONTAINS, "mid"),
    "header-suffix": wearing(HeaderMatchKind.SUFFIX, "end"),
    "header-not": wearing(HeaderMatchKind.EXACT, "no", invert=True),
    "query": Match(query=(QueryMatch("q", QueryKind.EXACT, "1"),)),
    "query-regex": Match(query=(QueryMatch("q", QueryKind.REGEX, "[a-c]+"),)),
    "query-present": Match(query=(QueryMatch("debug", QueryKind.PRESENT),)),
    "all-of-it": Match(
        path=PathMatch(PathKind.SEGMENTS, "/"),
        methods=("POST",),
        headers=(HeaderMatch("x-b", HeaderMatchKind.PRESENT),),
        query=(QueryMatch("n", QueryKind.EXACT, "2"),),
    ),
    "rest": EVERYTHING,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    table = {"matches": [Route(match, Respond(200, name)) for name, match in MATCHES.items()]}
    async with envoy(tmp_path_factory.mktemp("envoy"), table_listeners(table), []) as running:
        yield running


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/exact?x=1", "exact"),
        ("/exact/", "rest"),
        ("/cASE", "exact-any-case"),
        ("/EXACT", "rest"),
        ("/prefer/x", "prefix"),
        ("/seg", "segments"),
        ("/seg/", "segments"),
        ("/seg/b?c", "segments"),
        ("/segment", "rest"),
        ("/slash", "segments-slash"),
        ("/slash/b", "segments-slash"),
        ("/slashes", "rest"),
        ("/fOLDER/x", "segments-any-case"),
        ("/folders", "rest"),
        ("/r/42?x=1", "regex"),
        ("/r/42/x", "rest"),
        ("/X/AB", "regex-any-case"),
        ("/Y", "regex-any-case"),
        ("/?q=1", "query"),
        ("/?q=abc", "query-regex"),
        ("/?q=abd", "rest"),
        ("/?debug=", "query-present"),
        ("/", "rest"),
    ],
)
async def test_path_and_query_choose_the_route(place: Place, target: str, expected: str) -> None:
    assert (await place.ask("matches", target)).body == expected


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("PUT", {}, "method"),
        ("PATCH", {}, "methods"),
        ("DELETE", {}, "methods"),
        ("POST", {}, "rest"),
        ("GET", {"x-a": "1"}, "header"),
        ("GET", {"x-a": "tWo words"}, "header-prefix"),
        ("GET", {"x-a": "123"}, "header-regex"),
        ("GET", {"x-a": "amidst"}, "header-contains"),
        ("GET", {"x-a": "the end"}, "header-suffix"),
        ("GET", {"x-a": "1234"}, "header-not"),
        ("GET", {"x-a": "no"}, "rest"),
    ],
)
async def test_method_and_headers_choose_the_route(
    place: Place, method: str, headers: dict[str, str], expected: str
) -> None:
    assert (await place.ask("matches", method=method, headers=headers)).body == expected


async def test_conditions_of_one_match_hold_together(place: Place) -> None:
    headers = {"x-b": "any"}

    assert (await place.ask("matches", "/?n=2", method="POST", headers=headers)).body == "all-of-it"
    assert (await place.ask("matches", "/?n=2", method="POST")).body == "rest"
    assert (await place.ask("matches", "/?n=3", method="POST", headers=headers)).body == "rest"
