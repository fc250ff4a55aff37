"""Where requests go, told by what they are and by whose proxy sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.traffic.answers import all_served_by, served_by
from tests.traffic.bed import Bed
from tests.traffic.documents import WEB, http_route

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def to_spare(match: str, **options: Any) -> dict[str, Any]:
    """Return a policy that sends what ``match`` (YAML) matches to ``spare`` instead of ``api``."""
    rule = {
        "matches": [yaml.safe_load(match)],
        "default": {"backendRefs": [{"kind": "MeshService", "name": "spare"}]},
    }
    return http_route(yaml.safe_dump([rule]), **options)


async def test_match_by_exact_path(bed: Bed) -> None:
    await bed.apply(to_spare("path: {type: Exact, value: /a/b}"))
    assert await all_served_by(bed, "/a/b", "/a/b?query=1") == {"spare"}
    assert await all_served_by(bed, "/a/b/", "/a/bc", "/a", "/A/b", "/x/a/b") == {"api"}
    assert bed.apps["spare-1"].seen == {"/a/b": 2}


async def test_match_by_path_prefix_of_whole_segments(bed: Bed) -> None:
    await bed.apply(to_spare("path: {type: PathPrefix, value: /new}"))
    assert await all_served_by(bed, "/new", "/new/", "/new/thing", "/new?x=1") == {"spare"}
    assert await all_served_by(bed, "/newer", "/ne", "/", "/x/new") == {"api"}


async def test_match_by_path_regex_on_the_whole_path(bed: Bed) -> None:
    await bed.apply(to_spare("path: {type: RegularExpression, value: '/users/[0-9]+'}"))
    assert await all_served_by(bed, "/users/7", "/users/42?x=y") == {"spare"}
    assert await all_served_by(bed, "/users/me", "/users/7/edit", "/v1/users/7") == {"api"}


async def test_match_by_method(bed: Bed) -> None:
    await bed.apply(to_spare("method: POST"))
    assert await served_by(bed, method="POST", body=b"x") == "spare"
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert await served_by(bed, method=method) == "api"


async def _by_header(bed: Bed, condition: str, hits: list[str], misses: list[str | None]) -> None:
    await bed.apply(to_spare(f"headers: [{condition}]"))
    for value in hits:
        assert await served_by(bed, headers={"x-user": value}) == "spare", value
    for other in misses:
        headers = {} if other is None else {"x-user": other}
        assert await served_by(bed, headers=headers) == "api", other


async def test_match_by_exact_header(bed: Bed) -> None:
    condition = "{type: Exact, name: X-User, value: anna}"
    await _by_header(bed, condition, ["anna"], ["Anna", "annabel", "", None])


async def test_match_by_header_prefix(bed: Bed) -> None:
    condition = "{type: Prefix, name: x-user, value: anna}"
    await _by_header(bed, condition, ["anna", "annabel"], ["hanna", None])


async def test_match_by_header_regex(bed: Bed) -> None:
    condition = "{type: RegularExpression, name: x-user, value: 'anna|b.*'}"
    await _by_header(bed, condition, ["anna", "b", "bert"], ["annab", "xb", None])


async def test_match_by_present_header(bed: Bed) -> None:
    await _by_header(bed, "{type: Present, name: x-user}", ["anna", "-"], [None])


async def test_match_by_absent_header(bed: Bed) -> None:
    await bed.apply(to_spare("headers: [{type: Absent, name: x-user}]"))
    assert await served_by(bed) == "spare"
    assert await served_by(bed, headers={"x-user": "anna"}) == "api"


async def test_match_by_several_headers_together(bed: Bed) -> None:
    await bed.apply(to_spare("headers: [{name: x-a, value: '1'}, {name: x-b, value: '2'}]"))
    assert await served_by(bed, headers={"x-a": "1", "x-b": "2"}) == "spare"
    assert await served_by(bed, headers={"x-a": "1"}) == "api"
    assert await served_by(bed, headers={"x-a": "1", "x-b": "3"}) == "api"


async def test_match_by_exact_query_parameter(bed: Bed) -> None:
    await bed.apply(to_spare("queryParams: [{name: version, value: '2'}]"))
    assert await all_served_by(bed, "/?version=2", "/x?a=b&version=2") == {"spare"}
    assert await all_served_by(bed, "/?version=21", "/?Version=2", "/version=2", "/") == {"api"}


async def test_match_by_query_parameter_regex(bed: Bed) -> None:
    await bed.apply(to_spare("queryParams: [{type: RegularExpression, name: id, value: 'a+'}]"))
    assert await all_served_by(bed, "/?id=a", "/?id=aaa") == {"spare"}
    assert await all_served_by(bed, "/?id=ab", "/?id=", "/") == {"api"}


async def test_match_by_present_query_parameter(bed: Bed) -> None:
    await bed.apply(to_spare("queryParams: [{type: Present, name: debug}]"))
    assert await all_served_by(bed, "/?debug=1", "/?x=1&debug=") == {"spare"}
    assert await all_served_by(bed, "/?debugger=1", "/debug") == {"api"}


async def test_match_by_path_and_method_and_header_and_query_together(bed: Bed) -> None:
    await bed.apply(
        to_spare("""
path: {type: PathPrefix, value: /shop}
method: PUT
headers: [{name: x-user, value: anna}]
queryParams: [{name: dry, value: "1"}]
""")
    )
    right: dict[str, Any] = {"method": "PUT", "headers": {"x-user": "anna"}}
    assert await served_by(bed, "/shop/cart?dry=1", **right) == "spare"
    assert await served_by(bed, "/other?dry=1", **right) == "api"
    assert await served_by(bed, "/shop/cart?dry=0", **right) == "api"
    assert await served_by(bed, "/shop/cart?dry=1", **right | {"method": "POST"}) == "api"
    assert await served_by(bed, "/shop/cart?dry=1", **right | {"headers": {}}) == "api"


async def test_match_by_any_of_several_conditions(bed: Bed) -> None:
    await bed.apply(
        http_route("""
- matches:
    - path: {type: Exact, value: /one}
    - headers: [{name: x-two, value: "2"}]
  default: {backendRefs: [{kind: MeshService, name: spare}]}
""")
    )
    assert await served_by(bed, "/one") == "spare"
    assert await served_by(bed, "/two", headers={"x-two": "2"}) == "spare"
    assert await served_by(bed, "/two") == "api"


async def test_route_by_source_service(bed: Bed) -> None:
    await bed.apply(to_spare("path: {type: PathPrefix, value: /}", proxies=WEB))
    assert await served_by(bed, "/x", caller="web") == "spare"
    assert await served_by(bed, "/x", caller="admin") == "api"


async def test_route_by_labels_of_the_calling_proxy(bed: Bed) -> None:
    def at(name: str, **labels: str) -> Mapping[str, Any]:
        match = f"path: {{type: Exact, value: /{name}}}"
        return to_spare(match, name=name, proxies={"kind": "Dataplane", "labels": labels})

    await bed.apply(
        at("here", locality="here"),
        at("there", locality="there"),
        at("both", locality="here", service="web"),
    )
    found = {
        (path, caller): await served_by(bed, path, caller=caller)
        for path in ("/here", "/there", "/both")
        for caller in ("web", "admin")
    }
    assert found == {
        ("/here", "web"): "spare",
        ("/here", "admin"): "spare",
        ("/there", "web"): "api",
        ("/there", "admin"): "api",
        ("/both", "web"): "spare",
        ("/both", "admin"): "api",
    }


async def test_route_by_name_of_the_calling_proxy(bed: Bed) -> None:
    proxies = {"kind": "Dataplane", "name": "admin-1"}
    await bed.apply(to_spare("method: GET", proxies=proxies))
    assert await served_by(bed, caller="admin") == "spare"
    assert await served_by(bed, caller="web") == "api"


SAYING: list[tuple[str, str]] = [
    ("everything", "path: {type: PathPrefix, value: /}"),
    ("regex", "path: {type: RegularExpression, value: '/.*x'}"),
    ("short", "path: {type: PathPrefix, value: /a}"),
    ("long", "path: {type: PathPrefix, value: /a/b}"),
    ("exact", "path: {type: Exact, value: /a/b/c}"),
    ("method", "{path: {type: PathPrefix, value: /a}, method: POST}"),
    ("header", "{path: {type: PathPrefix, value: /a}, headers: [{name: x-h, value: '1'}]}"),
    (
        "headers",
        """
path: {type: PathPrefix, value: /a}
headers: [{name: x-h, value: '1'}, {name: x-i, value: '1'}]
""",
    ),
    ("query", "{path: {type: PathPrefix, value: /a}, queryParams: [{name: q, value: '1'}]}"),
]
"""Rules that overlap; each answers with its own name."""


@pytest.mark.parametrize("order", [1, -1], ids=["as written", "reversed"])
async def test_the_most_specific_route_wins_in_any_order(bed: Bed, order: int) -> None:
    rules = [
        {"matches": [yaml.safe_load(match)], "default": {"filters": [_saying(name)]}}
        for name, match in SAYING[::order]
    ]
    await bed.apply(http_route(yaml.safe_dump(rules)))

    async def said(path: str, **options: Any) -> str:
        return (await bed.call(path, **options)).text

    one, two = {"x-h": "1"}, {"x-h": "1", "x-i": "1"}
    assert await said("/") == "everything"
    assert await said("/x") == "regex"
    assert await said("/a") == await said("/a/x") == "short"
    assert await said("/a/b") == await said("/a/b/x") == await said("/a/b", headers=two) == "long"
    assert await said("/a/b/c") == await said("/a/b/c", method="POST") == "exact"
    assert await said("/a", method="POST", headers=two) == "method"
    assert await said("/a?q=1", headers=one) == "header"
    assert await said("/a", headers=two) == "headers"
    assert await said("/a?q=1") == "query"


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids=["a", "b"])
async def test_the_policy_of_the_more_specific_proxies_wins(
    bed: Bed, names: tuple[str, str]
) -> None:
    def saying(name: str, text: str, proxies: Mapping[str, Any] | None) -> Mapping[str, Any]:
        rules = [{"default": {"filters": [_saying(text)]}}]
        return http_route(yaml.safe_dump(rules), name=name, proxies=proxies)

    general, specific = names
    await bed.apply(saying(general, "all", None), saying(specific, "web", WEB))
    assert (await bed.call(caller="web")).text == "web"
    assert (await bed.call(caller="admin")).text == "all"


async def test_a_deleted_route_leaves_no_trace(bed: Bed) -> None:
    await bed.apply(to_spare("path: {type: PathPrefix, value: /}", name="passing"))
    assert await served_by(bed) == "spare"
    await bed.delete("MeshHTTPRoute", "passing")
    assert await all_served_by(bed, "/", "/a", "/b") == {"api"}


def _saying(text: str) -> Mapping[str, Any]:
    return {"type": "DirectResponse", "directResponse": {"status": 200, "body": text}}
