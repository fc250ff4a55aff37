"""Route tables on a real Envoy: which route a request takes, and how it is changed on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from mesh.model.destinations import (
    Target,
)
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    HeaderEdits,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.model.traffic import (
    Cors,
    Forward,
    PathRewrite,
    Redirect,
    Respond,
    RewriteKind,
    Route,
    Share,
)
from tests.envoy.place import App, Place, envoy, plain, table_listeners

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

A: Final = Target("a")
TO_A: Final = Forward((Share(A),))


def path(kind: PathKind, value: str, *, ignore_case: bool = False) -> Match:
    return Match(path=PathMatch(kind, value, ignore_case))


def wearing(kind: HeaderMatchKind, value: str = "", **more: bool) -> Match:
    return Match(headers=(HeaderMatch("x-a", kind, value, **more),))


def prefix(value: str) -> PathRewrite:
    return PathRewrite(RewriteKind.PREFIX, value)


def full(value: str) -> PathRewrite:
    return PathRewrite(RewriteKind.FULL, value)


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


def rewritten(number: int, kind: PathKind, rewrite: PathRewrite) -> Route:
    return Route(path(kind, f"/{number}/old"), Forward((Share(A),), path=rewrite, host="new.host"))


SEGMENTS, PREFIX = PathKind.SEGMENTS, PathKind.PREFIX
REWRITES: Final = [
    (SEGMENTS, prefix("/new"), {"": "/new", "/": "/new/", "/x/y?q=1": "/new/x/y?q=1"}),
    (SEGMENTS, prefix("/new/"), {"": "/new", "/x": "/new/x"}),
    (SEGMENTS, prefix("/"), {"": "/", "/": "/", "/x": "/x", "?q=1": "/?q=1"}),
    (SEGMENTS, prefix(""), {"": "/", "/x/y": "/x/y"}),
    (PREFIX, prefix("/new"), {"": "/new", "er/x": "/newer/x"}),
    (PREFIX, prefix("/"), {"er/x": "/er/x", "/x": "//x"}),
    (SEGMENTS, full(r"/a\1"), {"/x?q=1": r"/a\1?q=1"}),
]

TABLES: Final[Mapping[str, list[Route]]] = {
    "matches": [Route(match, Respond(200, name)) for name, match in MATCHES.items()],
    "rewrites": [
        *(rewritten(i, kind, rewrite) for i, (kind, rewrite, _) in enumerate(REWRITES)),
        Route(EVERYTHING, Forward((Share(A),), path=prefix("/under"))),
    ],
    "redirects": [
        Route(path(SEGMENTS, "/tls"), Redirect(301, scheme="https", host="h.example", port=8443)),
        Route(path(SEGMENTS, "/old"), Redirect(307, path=prefix("/new"))),
        Route(path(SEGMENTS, "/flat"), Redirect(308, path=prefix("/"))),
        Route(path(SEGMENTS, "/full"), Redirect(path=full("/there"))),
    ],
    "answer": [Route(EVERYTHING, Respond(418, "t" * 5000))],
    "edits": [
        Route(
            EVERYTHING,
            Forward(
                (
                    Share(
                        A,
                        request_headers=HeaderEdits(set=(("x-of", "share"),)),
                        response_headers=HeaderEdits(add=(("x-more", "share"),)),
                    ),
                )
            ),
            request_headers=HeaderEdits(
                add=(("x-added", "%REQ(:METHOD)%"),),
                set=(("x-of", "route"), ("x-empty", "")),
                remove=("x-secret",),
            ),
            response_headers=HeaderEdits(remove=("server",), set=(("x-set", "1"),)),
        )
    ],
    "cors": [
        Route(
            Match(methods=("PUT", "DELETE")),
            TO_A,
            cors=Cors(
                origins=("https://ok.example",),
                origin_regexes=(r"https://[a-z]+\.trusted\.example",),
                methods=("PUT", "DELETE"),
                headers=("x-token",),
                expose=("x-set",),
                credentials=True,
                max_age=600.0,
            ),
        ),
        Route(EVERYTHING, Respond(404, "nothing here")),
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[App]:
    started = await App("a").start()
    try:
        yield started
    finally:
        await started.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(server: App, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("envoy")
    async with envoy(directory, table_listeners(TABLES), [plain("a", server)]) as running:
        yield running


@pytest.fixture
def app(server: App) -> App:
    server.forget()
    return server


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


@pytest.mark.parametrize("number", range(len(REWRITES)))
async def test_path_and_host_are_rewritten(place: Place, app: App, number: int) -> None:
    expected = REWRITES[number][2]
    for rest in expected:
        assert (await place.ask("rewrites", f"/{number}/old{rest}")).status == 200

    assert [seen.path for seen in app.seen] == list(expected.values())
    assert {seen.headers["Host"] for seen in app.seen} == {"new.host"}


async def test_everything_moves_under_a_prefix(place: Place, app: App) -> None:
    await place.ask("rewrites", "/x?q=1")

    assert app.seen[0].path == "/under/x?q=1"


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/tls/x?q=1", 301, "https://h.example:8443/tls/x?q=1"),
        ("/old/x?q=1", 307, "http://me.example/new/x?q=1"),
        ("/flat/x", 308, "http://me.example/x"),
        ("/full/x", 302, "http://me.example/there"),
    ],
)
async def test_redirects(place: Place, target: str, status: int, location: str) -> None:
    answer = await place.ask("redirects", target, headers={"host": "me.example"})

    assert (answer.status, answer.headers["location"]) == (status, location)


async def test_direct_response(place: Place) -> None:
    answer = await place.ask("answer")

    assert (answer.status, answer.body) == (418, "t" * 5000)


async def test_headers_are_edited_and_the_share_has_the_last_word(place: Place, app: App) -> None:
    answer = await place.ask("edits", headers={"x-secret": "1", "x-added": "mine"})
    [seen] = app.seen

    assert seen.headers["x-of"] == "share"
    assert seen.headers["x-empty"] == ""
    assert "x-secret" not in seen.headers
    assert answer.headers["x-set"] == "1"
    assert answer.headers["x-more"] == "share"
    assert "server" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize("origin", ["https://ok.example", "https://sub.trusted.example"])
async def test_preflight_is_answered(place: Place, app: App, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "PUT"}
    answer = await place.ask("cors", method="OPTIONS", headers=headers)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "PUT,DELETE"
    assert answer.headers["access-control-allow-headers"] == "x-token"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "600"
    assert not app.seen


async def test_strange_origin_is_allowed_nothing(place: Place, app: App) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "PUT"}
    answer = await place.ask("cors", method="OPTIONS", headers=headers)

    assert "access-control-allow-origin" not in answer.headers
    assert not app.seen


async def test_cross_origin_answer_is_marked(place: Place) -> None:
    answer = await place.ask("cors", method="PUT", headers={"origin": "https://ok.example"})

    assert (answer.app, answer.headers["access-control-allow-origin"]) == (
        "a",
        "https://ok.example",
    )
    assert answer.headers["access-control-expose-headers"] == "x-set"
