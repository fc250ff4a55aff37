"""Forwarding on a real Envoy: to whom a request goes, again, as a copy, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from mesh.model.destinations import (
    Balancing,
    HashKind,
    HashPolicy,
    LoadBalancing,
    Settings,
    Target,
)
from mesh.model.requests import (
    EVERYTHING,
    HeaderEdits,
    Match,
    PathKind,
    PathMatch,
    Timeouts,
)
from mesh.model.traffic import (
    Forward,
    Mirror,
    Retry,
    Route,
    Share,
)
from tests.envoy.place import App, Place, envoy, plain, table_listeners
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

A, B, HASHED, DENIED, ABSENT = (Target(each) for each in ("a", "b", "hashed", "denied", "absent"))
BOTH: Final = Target("both")
TO_A: Final = Forward((Share(A),))


def under(prefix: str) -> Match:
    return Match(path=PathMatch(PathKind.SEGMENTS, prefix))


ON_503: Final = Retry(3, ("gateway-error",), backoff_base=0.001)
RETRIES: Final = {
    "unsaid": None,
    "gateway-error": ON_503,
    "other-condition": Retry(3, ("connect-failure",)),
    "status": Retry(1, (), statuses=(429,), backoff_max=0.001),
    "methods": Retry(3, ("5xx",), methods=("GET", "HEAD"), backoff_base=0.001),
    "grpc": Retry(2, ("unavailable",), backoff_base=0.001),
    "per-try": Retry(1, ("gateway-error",), per_try=0.05, backoff_base=0.001),
}

TABLES: Final[Mapping[str, list[Route]]] = {
    "weights": [Route(EVERYTHING, Forward((Share(A, 8_000), Share(B, 2_000), Share(DENIED, 0))))],
    "blocked": [
        Route(
            EVERYTHING,
            Forward((Share(A, 3000), Share(DENIED, 3000), Share(ABSENT, 2000), Share(B, 2000))),
            response_headers=HeaderEdits(set=(("x-passed", "yes"),)),
        )
    ],
    "denied": [Route(EVERYTHING, Forward((Share(DENIED),)))],
    "nowhere": [Route(EVERYTHING, Forward(()))],
    "mirrored": [
        Route(under("/all"), TO_A, mirrors=(Mirror(B), Mirror(DENIED))),
        Route(under("/some"), TO_A, mirrors=(Mirror(B, 25.0),)),
        Route(under("/none"), TO_A, mirrors=(Mirror(B, 0.0),)),
    ],
    **{f"retry-{name}": [Route(EVERYTHING, TO_A, retry=retry)] for name, retry in RETRIES.items()},
    "retry-elsewhere": [Route(EVERYTHING, Forward((Share(BOTH),)), retry=ON_503)],
    "timeouts": [
        Route(under("/request"), TO_A, timeouts=Timeouts(request=0.05)),
        Route(under("/idle"), TO_A, timeouts=Timeouts(idle=0.05)),
    ],
    "hash-header": [
        Route(
            EVERYTHING, Forward((Share(HASHED),)), hashing=(HashPolicy(HashKind.HEADER, "x-user"),)
        )
    ],
    "hash-cookie": [
        Route(
            EVERYTHING,
            Forward((Share(HASHED),)),
            hashing=(HashPolicy(HashKind.COOKIE, "who", ttl=60.0, path="/"),),
        )
    ],
    "hash-query": [
        Route(EVERYTHING, Forward((Share(HASHED),)), hashing=(HashPolicy(HashKind.QUERY, "u"),))
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[dict[str, App]]:
    started = {name: await App(name).start() for name in ("a", "b")}
    try:
        yield started
    finally:
        for app in started.values():
            await app.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    servers: dict[str, App], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    a, b = servers["a"], servers["b"]
    ring = Settings(balancing=LoadBalancing(Balancing.RING_HASH, min_ring=512))
    chance = Settings(balancing=LoadBalancing(Balancing.RANDOM))
    clusters = [
        plain("a", a),
        plain("b", b),
        plain("both", a, b, settings=chance),
        plain("hashed", a, b, settings=ring),
    ]
    refused, missing = {DENIED: "web may not call denied"}, {ABSENT: "there is no absent"}
    listeners = table_listeners(TABLES, refused=refused, missing=missing)
    async with envoy(tmp_path_factory.mktemp("envoy"), listeners, clusters) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def apps(servers: dict[str, App]) -> AsyncIterator[dict[str, App]]:
    for app in servers.values():
        app.forget()
    yield servers
    for app in servers.values():
        app.release()


async def test_weights_divide_the_traffic(place: Place) -> None:
    found = await place.count("weights", 300)

    assert set(found) == {"a", "b"}
    assert 30 <= found["b"] <= 100  # five standard deviations around 60


async def test_only_the_blocked_shares_are_answered(place: Place) -> None:
    found = await place.count("blocked", 400)

    assert set(found) == {"a", "b", "403", "500"}
    for who, share in {"a": 0.3, "403": 0.3, "b": 0.2, "500": 0.2}.items():
        assert abs(found[who] / 400 - share) < 0.125, found


async def test_refusal_says_why(place: Place) -> None:
    answer = await place.ask("denied")

    assert (answer.status, answer.body) == (403, "web may not call denied\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_route_without_a_target_says_so(place: Place) -> None:
    answer = await place.ask("nowhere")

    assert (answer.status, "names no target" in answer.body) == (500, True)


async def test_mirror_gets_an_equal_request(place: Place, apps: dict[str, App]) -> None:
    assert (await place.ask("mirrored", "/all?q=1", headers={"host": "me"})).app == "a"

    await until(lambda: bool(apps["b"].seen))
    [copy] = apps["b"].seen
    assert (copy.path, copy.headers["Host"]) == ("/all?q=1", "me")


async def test_mirror_gets_its_percentage(place: Place, apps: dict[str, App]) -> None:
    for _ in range(200):
        await place.ask("mirrored", "/some")
    assert (await place.ask("mirrored", "/none")).app == "a"
    await place.ask("mirrored", "/all")
    await until(lambda: any(seen.path == "/all" for seen in apps["b"].seen))

    assert 20 <= sum(seen.path == "/some" for seen in apps["b"].seen) <= 80
    assert not any(seen.path == "/none" for seen in apps["b"].seen)


UNAVAILABLE: Final = {"grpc-status": "14", "content-type": "application/grpc"}


@pytest.mark.parametrize(
    ("retry", "method", "answers", "tries", "status"),
    [
        ("unsaid", "GET", [(503, {})], 1, 503),
        ("gateway-error", "GET", [(503, {}), (502, {})], 3, 200),
        ("gateway-error", "GET", [(503, {})] * 4, 4, 503),
        ("gateway-error", "GET", [(500, {})], 1, 500),
        ("other-condition", "GET", [(503, {})], 1, 503),
        ("status", "GET", [(429, {})], 2, 200),
        ("methods", "GET", [(500, {})], 2, 200),
        ("methods", "HEAD", [(500, {})], 2, 200),
        ("methods", "POST", [(500, {})], 1, 500),
        ("grpc", "POST", [(200, UNAVAILABLE)], 2, 200),
    ],
)
async def test_retries_by_condition(  # noqa: PLR0917 the columns of the table above
    place: Place,
    apps: dict[str, App],
    retry: str,
    method: str,
    answers: list[tuple[int, dict[str, str]]],
    tries: int,
    status: int,
) -> None:
    apps["a"].next_answers = list(answers)

    answer = await place.ask(f"retry-{retry}", method=method)

    assert (answer.status, len(apps["a"].seen)) == (status, tries)
    assert "grpc-status" not in answer.headers


async def test_silent_try_is_given_up(place: Place, apps: dict[str, App]) -> None:
    apps["a"].held = 1

    answer = await place.ask("retry-per-try")

    assert (answer.status, len(apps["a"].seen)) == (200, 2)


async def test_retry_goes_to_another_instance(place: Place, apps: dict[str, App]) -> None:
    apps["a"].status = 503

    assert await place.count("retry-elsewhere", 40) == {"b": 40}
    # Half of the requests start here; any instance would do again, about 37 would come in all.
    assert len(apps["a"].seen) <= 32


@pytest.mark.parametrize("kind", ["request", "idle"])
async def test_timeouts_end_a_request(place: Place, apps: dict[str, App], kind: str) -> None:
    apps["a"].held = 1

    assert (await place.ask("timeouts", f"/{kind}")).status == 504


async def test_without_a_timeout_requests_wait(place: Place, apps: dict[str, App]) -> None:
    apps["a"].held = 1
    waiting = asyncio.create_task(place.ask("retry-unsaid"))  # noqa: TID251 awaited below

    await until(lambda: bool(apps["a"].seen))
    for _ in range(20):
        await place.ask("weights")
    assert not waiting.done()
    apps["a"].release()

    assert (await waiting).status == 200


async def test_equal_headers_reach_the_same_instance(place: Place) -> None:
    found = {}
    for user in range(20):
        headers = {"x-user": f"user-{user}"}
        who = {(await place.ask("hash-header", headers=headers)).app for _ in range(3)}
        assert len(who) == 1
        found[user] = who.pop()

    assert set(found.values()) == {"a", "b"}


async def test_equal_queries_reach_the_same_instance(place: Place) -> None:
    assert len({(await place.ask("hash-query", "/?u=1")).app for _ in range(6)}) == 1


async def test_cookie_is_given_and_keeps_its_bearer_where_it_was(place: Place) -> None:
    first = await place.ask("hash-cookie")
    cookie = first.headers["set-cookie"]

    assert "Max-Age=60" in cookie
    assert "Path=/" in cookie
    again = {
        (await place.ask("hash-cookie", headers={"cookie": cookie.split(";")[0]})).app
        for _ in range(6)
    }
    assert again == {first.app}
