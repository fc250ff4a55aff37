"""What becomes of the requests to a service, and how they are treated."""

from __future__ import annotations

import pytest

from mesh.model.destinations import Balancing, HashKind, HashPolicy, LoadBalancing, Target
from mesh.model.entries import (
    Resolver,
    RouteDestination,
    Router,
    RouterRoute,
    Split,
    Splitter,
)
from mesh.model.requests import HeaderEdits, Match, PathKind, PathMatch, Timeouts
from mesh.model.traffic import WHOLE, Forward, PathRewrite, Retry, RewriteKind, Route, Share
from mesh.routing.chain import (
    ChainError,
    compile_chain,
)
from tests.routing.chain_parts import ORDERS, SUBSETS, entries_of, targets_of


def test_a_router_ends_with_the_service_itself() -> None:
    entries = entries_of(
        Router(
            "api",
            (
                RouterRoute(ORDERS, RouteDestination("orders")),
                RouterRoute(ORDERS, RouteDestination("orders", "v1")),
            ),
        ),
        Splitter("orders", (Split(100, "cart"),)),
        Splitter("api", (Split(90), Split(10, "next"))),
        Resolver("orders", subsets=SUBSETS),
    )
    chain = compile_chain(entries, "api")
    through, past, last = chain.routes
    assert targets_of(through) == {"cart": WHOLE}
    assert through.origins["shares"] == "service-splitter orders"
    assert targets_of(past) == {"v1.orders": WHOLE}
    assert last.match.is_everything
    assert targets_of(last) == {"api": 9000, "next": 1000}
    assert last.name == "service-router api"
    assert last.origins == {"route": "service-router api", "shares": "service-splitter api"}
    assert chain.reads == {"api", "orders", "cart", "next"}


def test_only_the_first_router_counts() -> None:
    entries = entries_of(
        Router("api", (RouterRoute(ORDERS, RouteDestination("orders")),)),
        Router("orders", (RouterRoute(ORDERS, RouteDestination("db")),)),
    )
    assert targets_of(compile_chain(entries, "api").routes[0]) == {"orders": WHOLE}


def test_a_destination_says_how_requests_are_treated() -> None:
    edits = HeaderEdits(set=(("x-a", "1"),), remove=("x-b",))
    wanted = RouteDestination(
        prefix_rewrite="/v2/orders",
        request_timeout=3.0,
        idle_timeout=-1.0,
        retries=4,
        retry_on=("5xx", "connect-failure"),
        retry_on_connect_failure=True,
        retry_statuses=(429,),
        request_headers=edits,
        response_headers=edits,
    )
    route = compile_chain(entries_of(Router("api", (RouterRoute(ORDERS, wanted),))), "api").routes[
        0
    ]
    assert route == Route(
        ORDERS,
        Forward((Share(Target("api")),), PathRewrite(RewriteKind.PREFIX, "/v2/orders")),
        timeouts=Timeouts(request=3.0, idle=0.0),
        retry=Retry(4, ("5xx", "connect-failure", "retriable-status-codes"), (429,)),
        request_headers=edits,
        response_headers=edits,
    )
    assert route.name == "service-router api"
    settings = ("route", "timeouts.request", "timeouts.idle", "retry", "path")
    assert route.origins == dict.fromkeys(settings, "service-router api")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RouteDestination(), None),
        (RouteDestination(retry_on_connect_failure=True), Retry(1, ("connect-failure",))),
        (RouteDestination(retries=5), Retry(5, ())),
    ],
)
def test_retries_are_as_consul_hands_them_on(
    wanted: RouteDestination, expected: Retry | None
) -> None:
    entries = entries_of(Router("api", (RouterRoute(ORDERS, wanted),)))
    assert compile_chain(entries, "api").routes[0].retry == expected


def test_what_a_prefix_rewrite_replaces() -> None:
    def rewritten(path: PathMatch | None) -> Forward:
        route = RouterRoute(Match(path=path), RouteDestination(prefix_rewrite="/new"))
        action = compile_chain(entries_of(Router("api", (route,))), "api").routes[0].action
        assert isinstance(action, Forward)
        return action

    exact = rewritten(PathMatch(PathKind.EXACT, "/old"))
    assert exact.path == PathRewrite(RewriteKind.FULL, "/new")
    for other in (None, PathMatch(PathKind.REGEX, "/o.*")):
        with pytest.raises(ChainError, match=r"Routes\[0\].Destination.PrefixRewrite: needs"):
            rewritten(other)


def test_a_resolvers_request_timeout_holds_where_nothing_precedes_it() -> None:
    resolver = Resolver("api", request_timeout=7.0)
    (route,) = compile_chain(entries_of(resolver), "api").routes
    assert route.timeouts == Timeouts(request=7.0)
    assert route.origins["timeouts.request"] == "service-resolver api"
    split = entries_of(resolver, Splitter("api", (Split(100),)))
    assert compile_chain(split, "api").routes[0].timeouts == Timeouts()
    routed = entries_of(resolver, Router("api"))
    assert compile_chain(routed, "api").routes[0].timeouts == Timeouts()
    endless = entries_of(Resolver("api", request_timeout=-1.0))
    assert compile_chain(endless, "api").routes[0].timeouts == Timeouts(request=0.0)


def test_a_route_hashes_as_its_first_hashing_target_wants() -> None:
    by_user = HashPolicy(HashKind.HEADER, "x-user")
    ring = LoadBalancing(Balancing.RING_HASH, hashing=(by_user,))
    maglev = LoadBalancing(Balancing.MAGLEV, hashing=(HashPolicy(HashKind.SOURCE_IP),))
    entries = entries_of(
        Splitter("api", (Split(50), Split(30, "cart"), Split(20, "db"))),
        Resolver("cart", balancing=ring),
        Resolver("db", balancing=maglev),
    )
    chain = compile_chain(entries, "api")
    assert chain.routes[0].hashing == (by_user,)
    assert chain.routes[0].origins["hashing"] == "service-resolver cart"
    assert chain.resolved[Target("db")].balancing == maglev
    assert chain.resolved[Target("api")].balancing is None
