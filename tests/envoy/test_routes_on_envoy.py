"""Route tables on a real Envoy: what becomes of a request on its route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from mesh.model.destinations import (
    Target,
)
from mesh.model.requests import (
    EVERYTHING,
    HeaderEdits,
    Match,
    PathKind,
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
from tests.envoy.paths import path
from tests.envoy.place import App, Place, envoy, plain, table_listeners

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

A: Final = Target("a")
TO_A: Final = Forward((Share(A),))


def prefix(value: str) -> PathRewrite:
    return PathRewrite(RewriteKind.PREFIX, value)


def full(value: str) -> PathRewrite:
    return PathRewrite(RewriteKind.FULL, value)


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
