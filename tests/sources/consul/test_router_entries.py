"""Routers and splitters: what each field becomes, and everything wrong at once."""

from typing import Any

import pytest

from mesh.model.entries import RouteDestination, Router, RouterRoute, Split, Splitter
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
from mesh.sources.consul.entries import parse_router, parse_splitter
from tests.sources.consul.violations import paths


def routed(**http: Any) -> Match:
    return parse_router({"Name": "web", "Routes": [{"Match": {"HTTP": http}}]}).routes[0].match


def sent(**destination: Any) -> RouteDestination:
    route = {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": destination}
    return parse_router({"Name": "web", "Routes": [route]}).routes[0].destination


def test_a_router_without_conditions_or_destination() -> None:
    nothing = [{}, {"Match": None, "Destination": None}, {"Match": {"HTTP": None}}]
    assert parse_router({"Kind": "service-router", "Name": "web", "Routes": nothing}) == Router(
        "web", (RouterRoute(EVERYTHING),) * 3
    )
    assert parse_router({"Name": "web"}) == Router("web")


def test_conditions_of_a_route() -> None:
    found = routed(
        PathPrefix="/admin",
        CaseInsensitive=True,
        Methods=["get", "PUT"],
        Header=[
            {"Name": "X-Debug", "Present": True, "Invert": True},
            {"Name": "x-user", "Suffix": "@example.com", "IgnoreCase": True},
            {"Name": ":authority", "Regex": "api\\..*"},
        ],
        QueryParam=[{"Name": "beta", "Exact": "1"}, {"Name": "old", "Present": True}],
    )
    assert found == Match(
        path=PathMatch(PathKind.PREFIX, "/admin", ignore_case=True),
        methods=("GET", "PUT"),
        headers=(
            HeaderMatch("x-debug", HeaderMatchKind.PRESENT, invert=True),
            HeaderMatch("x-user", HeaderMatchKind.SUFFIX, "@example.com", ignore_case=True),
            HeaderMatch(":authority", HeaderMatchKind.REGEX, "api\\..*"),
        ),
        query=(QueryMatch("beta", QueryKind.EXACT, "1"), QueryMatch("old", QueryKind.PRESENT)),
    )
    assert routed(PathExact="/a").path == PathMatch(PathKind.EXACT, "/a")
    assert routed(path_regex="/[a-z]+").path == PathMatch(PathKind.REGEX, "/[a-z]+")


def test_where_a_route_sends_and_how() -> None:
    assert sent(
        Service="api",
        ServiceSubset="v2",
        PrefixRewrite="/",
        RequestTimeout="1m30s",
        IdleTimeout=2_000_000_000,
        NumRetries=3,
        RetryOn=["5xx", "reset"],
        RetryOnConnectFailure=True,
        RetryOnStatusCodes=[502, 503, 502],
        RequestHeaders={"Add": {"x-a": "1"}, "Set": {"x-b": "%REQ(:path)%"}, "Remove": ["x-c"]},
        ResponseHeaders={"Set": {"x-from": "100 %% %HOSTNAME%"}},
    ) == RouteDestination(
        service="api",
        subset="v2",
        prefix_rewrite="/",
        request_timeout=90,
        idle_timeout=2,
        retries=3,
        retry_on=("5xx", "reset"),
        retry_on_connect_failure=True,
        retry_statuses=(502, 503),
        request_headers=HeaderEdits((("x-a", "1"),), (("x-b", "%REQ(:path)%"),), ("x-c",)),
        response_headers=HeaderEdits(set=(("x-from", "100 %% %HOSTNAME%"),)),
    )


@pytest.mark.parametrize("off", ["-1s", -1_000_000_000])
def test_a_negative_timeout_of_a_route_turns_it_off(off: object) -> None:
    assert sent(RequestTimeout=off, IdleTimeout=off) == RouteDestination(
        request_timeout=-1, idle_timeout=-1
    )


def test_everything_wrong_with_a_router_at_once() -> None:
    http = {
        "PathExact": "admin",
        "PathRegex": "(?=x)",
        "Methods": ["GET", "get", "FETCH"],
        "Header": [
            {"Name": "", "Exact": "1"},
            {"Name": "a b", "Exact": "1", "Prefix": "2"},
            {"Name": "x", "Regex": "("},
            {"Name": "x", "Present": True, "IgnoreCase": True},
            {"Name": "x"},
        ],
        "QueryParam": [{"Name": "q", "Regex": "[", "Exact": "1"}, {"Present": True, "Prefix": ""}],
        "Host": "x",
    }
    destination = {
        "Service": "a.b",
        "ServiceSubset": "V2",
        "Namespace": "other",
        "Partition": "other",
        "PrefixRewrite": "/\n",
        "RequestTimeout": "-soon",
        "IdleTimeout": "99999h",
        "NumRetries": 2**32,
        "RetryOn": ["5xx", "always"],
        "RetryOnStatusCodes": [503, 99, "502"],
        "RequestHeaders": {
            "Add": {"host": "a", "a:b": "c"},
            "Set": {"x": "100%", "y": "%SECRET%", "z": 1},
            "Remove": [":path", ""],
            "Append": {},
        },
    }
    raw = {
        "Name": "web",
        "Routes": [
            {"Match": {"HTTP": http}, "Destination": {}},
            {"Match": {"TCP": {}}, "Destination": destination},
            {"Match": {"HTTP": {"PathRegex": "/x"}}, "Destination": {"PrefixRewrite": "/"}},
        ],
        "Routers": [],
    }
    match, to = "Routes[0].Match.HTTP", "Routes[1].Destination"
    headers = f"{to}.RequestHeaders"
    assert set(paths(parse_router, raw)) == {
        match,
        f"{match}.PathExact",
        f"{match}.PathRegex",
        f"{match}.Methods[1]",
        f"{match}.Methods[2]",
        f"{match}.Header[0].Name",
        f"{match}.Header[1].Name",
        f"{match}.Header[1]",
        f"{match}.Header[2].Regex",
        f"{match}.Header[3].IgnoreCase",
        f"{match}.Header[4]",
        f"{match}.QueryParam[0]",
        f"{match}.QueryParam[0].Regex",
        f"{match}.QueryParam[1].Name",
        f"{match}.QueryParam[1].Prefix",
        f"{match}.Host",
        "Routes[1].Match.TCP",
        f"{to}.Service",
        f"{to}.ServiceSubset",
        f"{to}.Namespace",
        f"{to}.Partition",
        f"{to}.PrefixRewrite",
        f"{to}.RequestTimeout",
        f"{to}.IdleTimeout",
        f"{to}.NumRetries",
        f"{to}.RetryOn[1]",
        f"{to}.RetryOnStatusCodes[1]",
        f"{to}.RetryOnStatusCodes[2]",
        f"{headers}.Add.host",
        f"{headers}.Add.a:b",
        f"{headers}.Set.x",
        f"{headers}.Set.y",
        f"{headers}.Set.z",
        f"{headers}.Remove[0]",
        f"{headers}.Remove[1]",
        f"{headers}.Append",
        "Routes[2].Destination.PrefixRewrite",
        "Routers",
    }


def test_a_splitter() -> None:
    splits = [
        {"Weight": 90.005, "ServiceSubset": "v1", "ResponseHeaders": {"Set": {"x": "v1"}}},
        {"Weight": 9.99, "Service": "api"},
        {"Service": "none"},
    ]
    assert parse_splitter({"Name": "web", "Splits": splits}) == Splitter(
        "web",
        (
            Split(90.01, "", "v1", response_headers=HeaderEdits(set=(("x", "v1"),))),
            Split(9.99, "api"),
            Split(0, "none"),
        ),
    )


def test_splits_that_edit_headers_may_go_to_the_same_place() -> None:
    splits = [{"Weight": 50, "RequestHeaders": {"Set": {"x": value}}} for value in ("1", "2")]
    assert len(parse_splitter({"Name": "web", "Splits": splits}).splits) == 2


def test_everything_wrong_with_a_splitter_at_once() -> None:
    splits = [
        {"Weight": 60},
        {"Weight": 30, "Service": "web"},
        {"Weight": -1, "Service": "a/b"},
        {"Weight": "5", "ServiceSubset": "-", "Partition": "p"},
        {"Weight": 5, "Service": "x", "Colour": "red"},
    ]
    assert set(paths(parse_splitter, {"Name": "web", "Splits": splits})) == {
        "Splits",
        "Splits[1]",
        "Splits[2].Weight",
        "Splits[2].Service",
        "Splits[3].Weight",
        "Splits[3].ServiceSubset",
        "Splits[3].Partition",
        "Splits[4].Colour",
    }
    assert paths(parse_splitter, {"Name": "web", "Splits": []}) == ["Splits"]
