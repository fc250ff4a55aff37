"""What is changed on the way, and what the caller's proxy answers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import yaml

from tests.traffic.answers import values
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

ANY: Mapping[str, Any] = {"path": {"type": "PathPrefix", "value": "/"}}


def filtering(*filters: str, match: Mapping[str, Any] = ANY) -> dict[str, Any]:
    """Return a policy that applies ``filters`` (YAML) to what matches."""
    rule = {"matches": [match], "default": {"filters": [yaml.safe_load(one) for one in filters]}}
    return http_route(yaml.safe_dump([rule]))


def prefix(path: str) -> Mapping[str, Any]:
    return {"path": {"type": "PathPrefix", "value": path}}


def nobody_asked(bed: Bed, path: str) -> bool:
    """Whether no application has seen a request for ``path``."""
    return not any(app.seen[path] for app in bed.apps.values())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_with_status(bed: Bed, status: int) -> None:
    path = "path: {type: ReplaceFullPath, replaceFullPath: /new}"
    await bed.apply(
        filtering(
            f"{{type: RequestRedirect, requestRedirect: {{{path}, statusCode: {status}}}}}",
            match=prefix("/old"),
        )
    )
    answer = await bed.call("/old")
    assert answer.status == status
    assert answer.headers["location"] == bed.url("api", "/new")
    assert nobody_asked(bed, "/old")
    assert (await bed.call("/older")).status == 200


@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("{hostname: shop.example}", "http://shop.example/old/a?q=1"),
        ("{hostname: shop.example, port: 8080}", "http://shop.example:8080/old/a?q=1"),
        ("{port: 8080}", "http://127.0.0.1:8080/old/a?q=1"),
        ("{scheme: https, port: 8443}", "https://127.0.0.1:8443/old/a?q=1"),
        ("{scheme: https, hostname: shop.example}", "https://shop.example/old/a?q=1"),
        (
            "{hostname: shop.example, path: {type: ReplaceFullPath, replaceFullPath: /new}}",
            "http://shop.example/new?q=1",
        ),
        (
            "{hostname: shop.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}",
            "http://shop.example/new/a?q=1",
        ),
        (
            "{hostname: shop.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}",
            "http://shop.example/a?q=1",
        ),
    ],
    ids=[
        "host",
        "host and port",
        "port",
        "scheme and port",
        "scheme and host",
        "full path",
        "prefix of the path",
        "prefix of the path taken away",
    ],
)
async def test_redirect_to_another(bed: Bed, to: str, location: str) -> None:
    redirect = f"{{type: RequestRedirect, requestRedirect: {to}}}"
    await bed.apply(filtering(redirect, match=prefix("/old")))
    answer = await bed.call("/old/a?q=1")
    assert (answer.status, answer.headers["location"]) == (302, location)
    assert nobody_asked(bed, "/old/a")


async def test_rewrite_of_the_host(bed: Bed) -> None:
    await bed.apply(filtering("{type: URLRewrite, urlRewrite: {hostname: api.example}}"))
    answer = await bed.call("/a?q=1")
    assert answer.json["host"] == "api.example"
    assert answer.json["path"] == "/a?q=1"


async def test_the_host_stays_where_nothing_rewrites_it(bed: Bed) -> None:
    assert (await bed.call()).json["host"] == f"127.0.0.1:{bed.port('api')}"


async def test_rewrite_of_the_full_path(bed: Bed) -> None:
    path = "{type: ReplaceFullPath, replaceFullPath: /new}"
    rewrite = f"{{type: URLRewrite, urlRewrite: {{path: {path}}}}}"
    await bed.apply(filtering(rewrite, match=prefix("/old")))
    assert (await bed.call("/old/a/b?q=1")).json["path"] == "/new?q=1"
    assert (await bed.call("/other")).json["path"] == "/other"


@pytest.mark.parametrize(
    ("matched", "new", "seen"),
    [
        ("/old", "/new", {"/old": "/new", "/old/a?q=1": "/new/a?q=1", "/older": "/older"}),
        ("/old", "/", {"/old": "/", "/old/": "/", "/old/a?q=1": "/a?q=1", "/old?q=1": "/?q=1"}),
        ("/", "/new", {"/": "/new/", "/a?q=1": "/new/a?q=1"}),
        ("/old/", "/new/", {"/old/a": "/new/a", "/old/": "/new/"}),
    ],
    ids=["by another", "by nothing", "of everything", "with slashes at the end"],
)
async def test_rewrite_of_the_path_prefix(
    bed: Bed, matched: str, new: str, seen: Mapping[str, str]
) -> None:
    path = f"{{type: ReplacePrefixMatch, replacePrefixMatch: {new}}}"
    rewrite = f"{{type: URLRewrite, urlRewrite: {{path: {path}}}}}"
    await bed.apply(filtering(rewrite, match=prefix(matched)))
    assert {asked: (await bed.call(asked)).json["path"] for asked in seen} == seen


async def test_rewrite_of_host_and_path_on_the_way_to_another_service(bed: Bed) -> None:
    await bed.apply(
        http_route("""
- matches: [{path: {type: PathPrefix, value: /spare}}]
  default:
    filters:
      - type: URLRewrite
        urlRewrite:
          hostname: spare.example
          path: {type: ReplacePrefixMatch, replacePrefixMatch: /}
    backendRefs: [{kind: MeshService, name: spare}]
""")
    )
    answer = await bed.call("/spare/a")
    found = (answer.instance, answer.json["host"], answer.json["path"])
    assert found == ("spare-1", "spare.example", "/a")


async def test_request_headers_are_added_set_and_removed(bed: Bed) -> None:
    await bed.apply(
        filtering("""
type: RequestHeaderModifier
requestHeaderModifier:
  add: [{name: X-Added, value: second}, {name: x-new, value: "100%"}]
  set: [{name: X-Set, value: after}, {name: x-made, value: "yes"}]
  remove: [X-Secret, x-not-there]
""")
    )
    asked = {"x-added": "first", "x-set": "before", "x-secret": "s", "x-kept": "kept"}
    headers = (await bed.call(headers=asked)).json["headers"]
    assert {name: value for name, value in headers.items() if name in {*asked, "x-new"}} == {
        "x-added": "first, second",
        "x-set": "after",
        "x-kept": "kept",
        "x-new": "100%",
    }
    assert headers["x-made"] == "yes"


async def test_response_headers_are_added_set_and_removed(bed: Bed) -> None:
    await bed.apply(
        filtering("""
type: ResponseHeaderModifier
responseHeaderModifier:
  add: [{name: X-Added, value: second}]
  set: [{name: X-Set, value: after}, {name: x-made, value: "yes"}]
  remove: [X-Secret]
""")
    )
    for name in ("api-1", "api-2", "api-3"):
        headers = {"x-added": "first", "x-set": "before", "x-secret": "s", "x-kept": "kept"}
        bed.apps[name].behaviour.headers = headers
    answer = await bed.call()
    assert values(answer, "x-added") == ["first", "second"]
    assert values(answer, "x-set") == ["after"]
    assert values(answer, "x-made") == ["yes"]
    assert values(answer, "x-kept") == ["kept"]
    assert values(answer, "x-secret") == []


CORS = """
type: CORS
cors:
  allowOrigins: ["https://shop.example", "https://*.partner.example"]
  allowMethods: [GET, PUT]
  allowHeaders: [X-Token]
  exposeHeaders: [X-Instance]
  allowCredentials: true
  maxAge: 10m
"""


def preflight(origin: str, method: str = "PUT") -> dict[str, Any]:
    headers = {"origin": origin, "access-control-request-method": method}
    return {"method": "OPTIONS", "headers": headers}


@asynccontextmanager
async def crossing(bed: Bed) -> AsyncIterator[Bed]:
    """Apply the policy; yield the estate, spoken to over connections that were made since.

    A connection keeps the filters that it was accepted with, until it is drained.
    """
    await bed.apply(filtering(CORS))
    async with AsyncExitStack() as stack:

        async def renewed() -> Bed | None:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            anew = replace(bed, session=session)
            answer = await anew.call("/asked", **preflight("https://shop.example"))
            return anew if values(answer, "access-control-allow-origin") else None

        yield await until("new connections know of other origins", renewed)


@pytest.mark.parametrize("origin", ["https://shop.example", "https://eu.partner.example"])
async def test_cors_preflight_of_an_allowed_origin(bed: Bed, origin: str) -> None:
    async with crossing(bed) as anew:
        answer = await anew.call("/x", **preflight(origin))
    assert answer.status == 200
    told = {key.lower(): value for key, value in answer.headers.items()}
    assert {name: value for name, value in told.items() if name.startswith("access-control-")} == {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "X-Token",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Instance",
        "access-control-max-age": "600",
    }
    assert nobody_asked(bed, "/x")


async def test_cors_preflight_of_a_strange_origin(bed: Bed) -> None:
    async with crossing(bed) as anew:
        answer = await anew.call("/x", **preflight("https://evil.example"))
    # Without this header a browser lets nothing through.
    assert not values(answer, "access-control-allow-origin")
    assert nobody_asked(bed, "/x")


async def test_cors_actual_requests(bed: Bed) -> None:
    async with crossing(bed) as anew:
        asked = {"origin": "https://shop.example"}
        answer = await anew.call("/x", method="PUT", headers=asked)
        assert answer.json["method"] == "PUT"
        assert values(answer, "access-control-allow-origin") == ["https://shop.example"]
        assert values(answer, "access-control-allow-credentials") == ["true"]
        assert values(answer, "access-control-expose-headers") == ["X-Instance"]
        for headers in ({"origin": "https://evil.example"}, {}):
            answer = await anew.call("/x", headers=headers)
            assert answer.status == 200
            assert not values(answer, "access-control-allow-origin")


async def test_cors_comes_without_a_failed_preflight(bed: Bed) -> None:
    asked = preflight("https://shop.example")
    # So many at a time leave as many connections that are used again.
    assert {one.status for one in await asyncio.gather(*(bed.call(**asked) for _ in range(8)))} == {
        200
    }
    await bed.apply(filtering(CORS))
    found = await asyncio.gather(*(bed.call(**asked) for _ in range(8)))
    assert {one.status for one in found} == {200}


async def test_direct_response(bed: Bed) -> None:
    await bed.apply(
        filtering(
            "{type: DirectResponse, directResponse: {status: 451, body: 'not here: 100%'}}",
            "{type: ResponseHeaderModifier,"
            " responseHeaderModifier: {set: [{name: x-why, value: law}]}}",
            match=prefix("/books"),
        )
    )
    answer = await bed.call("/books/1")
    assert (answer.status, answer.text) == (451, "not here: 100%")
    assert values(answer, "x-why") == ["law"]
    assert nobody_asked(bed, "/books/1")
    assert (await bed.call("/bookshop")).status == 200
