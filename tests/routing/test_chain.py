"""What entries say together: resolvers, splitters and routers, and who is blamed for what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.destinations import Balancing, HashKind, HashPolicy, LoadBalancing, Target
from mesh.model.entries import (
    Entries,
    FailoverTarget,
    ProxyDefaults,
    Resolver,
    ResolverRedirect,
    RouteDestination,
    Router,
    RouterRoute,
    ServiceDefaults,
    Split,
    Splitter,
    Subset,
)
from mesh.model.filters import Condition, Operator
from mesh.model.requests import EVERYTHING, HeaderEdits, Match, PathKind, PathMatch, Timeouts
from mesh.model.services import Protocol
from mesh.model.traffic import WHOLE, Forward, PathRewrite, Retry, RewriteKind, Route, Share
from mesh.routing.chain import (
    CONNECT_TIMEOUT,
    ChainError,
    check_chains,
    compile_chain,
    resolve,
)
from mesh.routing.chain_split import Branch, shares

_V1 = Condition(("Service", "Meta", "version"), Operator.EQUAL, "v1")
_SUBSETS = {"v1": Subset(_V1), "v2": Subset(only_passing=True)}
_ORDERS = Match(path=PathMatch(PathKind.PREFIX, "/orders"))


def _entries(*found: Any, protocol: Protocol = Protocol.HTTP) -> Entries:
    def of(kind: type[Any]) -> dict[str, Any]:
        return {entry.name: entry for entry in found if isinstance(entry, kind)}

    return Entries(
        service_defaults=of(ServiceDefaults),
        proxy_defaults=ProxyDefaults(protocol),
        routers=of(Router),
        splitters=of(Splitter),
        resolvers=of(Resolver),
    )


def _told(entries: Entries, *services: str) -> list[str]:
    return [f"{entry} {violation}" for entry, violation in check_chains(entries, services)]


def _targets(route: Route) -> dict[str, int]:
    assert isinstance(route.action, Forward)
    return {share.target.name: share.weight for share in route.action.shares}


# --- Resolvers


def test_a_service_without_entries_is_itself() -> None:
    chain = compile_chain(_entries(protocol=Protocol.TCP), "api")
    assert chain.protocol is Protocol.TCP
    assert chain.routes == (Route(EVERYTHING, Forward((Share(Target("api")),))),)
    assert chain.resolved[Target("api")].connect_timeout == CONNECT_TIMEOUT
    assert chain.reads == {"api"}


def test_a_redirect_ends_in_the_default_subset() -> None:
    entries = _entries(
        Resolver("api", redirect=ResolverRedirect("shop")),
        Resolver("shop", "v1", _SUBSETS, connect_timeout=2.0),
    )
    found = resolve(entries, "api")
    assert found.target == Target("shop", "v1")
    assert found.selection.filter == _V1
    assert found.connect_timeout == 2.0
    assert found.origins["connect_timeout"] == "service-resolver shop"
    assert found.reads == {"api", "shop"}


def test_a_redirect_forgets_the_subset_asked_for() -> None:
    entries = _entries(Resolver("api", subsets=_SUBSETS, redirect=ResolverRedirect("shop")))
    assert resolve(entries, "api", "v1").target == Target("shop")


def test_failover_by_subset_before_the_general_one() -> None:
    failover = {"v1": (FailoverTarget(subset="v2"),), "*": (FailoverTarget("spare"),)}
    entries = _entries(Resolver("api", subsets=_SUBSETS, failover=failover))
    (one,) = resolve(entries, "api", "v1").failover
    assert (one.target, one.only_passing) == (Target("api", "v2"), True)
    (other,) = resolve(entries, "api", "v2").failover
    assert other.target == Target("spare")


def test_failover_follows_redirects_but_no_further_failover() -> None:
    entries = _entries(
        Resolver("api", failover={"*": (FailoverTarget("spare"),)}),
        Resolver("spare", redirect=ResolverRedirect("stand-in")),
        Resolver("stand-in", "v1", _SUBSETS, failover={"*": (FailoverTarget("last"),)}),
    )
    found = resolve(entries, "api")
    assert [one.target for one in found.failover] == [Target("stand-in", "v1")]
    assert found.reads == {"api", "spare", "stand-in"}


def test_failover_never_repeats_itself() -> None:
    turns = tuple(map(FailoverTarget, ("api", "spare", "back", "spare")))
    entries = _entries(
        Resolver("api", failover={"*": turns}),
        Resolver("back", redirect=ResolverRedirect("api")),
    )
    assert [one.target.name for one in resolve(entries, "api").failover] == ["spare"]


def test_failover_to_other_zones_is_told_apart() -> None:
    turns = (
        FailoverTarget(zone="west"),
        FailoverTarget("spare"),
        FailoverTarget(zone="here"),
        FailoverTarget("spare", zone="east"),
        FailoverTarget("other", zone="west"),
    )
    found = resolve(_entries(Resolver("api", failover={"*": turns})), "api", zone="here")
    assert [one.target.name for one in found.failover] == ["spare"]
    assert found.elsewhere == ("west", "east")


def test_a_redirect_to_another_zone_is_refused_and_to_our_own_is_none() -> None:
    entries = _entries(Resolver("api", redirect=ResolverRedirect(zone="west")))
    assert resolve(entries, "api", zone="west").target == Target("api")
    with pytest.raises(ChainError, match="zone west cannot be reached") as refused:
        resolve(entries, "api", zone="east")
    assert refused.value.faults[0].entry == "service-resolver api"
    assert refused.value.violations[0].path == "Redirect"


def test_a_missing_subset_is_blamed_on_who_asked() -> None:
    wrong = Split(50, "cart", "v9")
    entries = _entries(
        Router("api", (RouterRoute(EVERYTHING, RouteDestination("shop", "v3")),)),
        Splitter("api", (Split(50), wrong)),
        Resolver("shop", subsets=_SUBSETS),
        Resolver("db", redirect=ResolverRedirect("shop", "v4")),
        Resolver("cache", failover={"*": (FailoverTarget("shop", "v5"),)}),
        Resolver("queue", default_subset="v6"),
    )
    told = _told(entries, "api", "db", "cache", "queue")
    assert told[0].endswith(": service-resolver shop defines v1, v2")
    assert told[1].endswith(": service-resolver cart defines none")
    assert [line.rpartition(": ")[0] for line in told] == [
        'service-router api Routes[0].Destination.ServiceSubset: shop has no subset "v3"',
        'service-splitter api Splits[1].ServiceSubset: cart has no subset "v9"',
        'service-resolver db Redirect.ServiceSubset: shop has no subset "v4"',
        'service-resolver cache Failover["*"].ServiceSubset: shop has no subset "v5"',
        'service-resolver queue DefaultSubset: queue has no subset "v6"',
    ]


def test_a_loop_of_redirects_is_told_once() -> None:
    ring = ("cart", "api", "db")
    entries = _entries(
        *(
            Resolver(name, redirect=ResolverRedirect(ring[index - 1]))
            for index, name in enumerate(ring)
        ),
        Resolver("edge", redirect=ResolverRedirect("cart")),
    )
    assert _told(entries, "edge", *ring) == [
        "service-resolver api Redirect: a loop of redirects: api → cart → db → api"
    ]
    with pytest.raises(ChainError) as refused:
        compile_chain(entries, "edge")
    assert refused.value.names == {"edge", *ring}


def test_an_external_service_stays_itself() -> None:
    outside = ServiceDefaults("pay", Protocol.HTTP, "pay.example.com")
    entries = _entries(
        outside,
        Resolver("pay", subsets=_SUBSETS, failover={"*": (FailoverTarget("spare"),)}),
    )
    assert [line.split(":")[0] for line in _told(entries, "pay")] == [
        "service-resolver pay Subsets",
        "service-resolver pay Failover",
    ]
    assert resolve(_entries(outside), "pay").target == Target("pay")


# --- Splitters


def test_nested_splits_multiply() -> None:
    entries = _entries(
        Splitter("api", (Split(25, "cart"), Split(75, subset="v1"))),
        Splitter("cart", (Split(40), Split(60, "api", "v2"))),
        Resolver("api", subsets=_SUBSETS),
    )
    (route,) = compile_chain(entries, "api").routes
    assert _targets(route) == {"cart": 1000, "v2.api": 1500, "v1.api": 7500}
    assert route.origins == {"route": "service-splitter api", "shares": "service-splitter api"}


def test_splits_that_end_at_one_target_become_one_share() -> None:
    entries = _entries(
        Splitter("api", (Split(30, "cart"), Split(70, "db"))),
        Resolver("cart", redirect=ResolverRedirect("db")),
    )
    (route,) = compile_chain(entries, "api").routes
    assert route.action == Forward((Share(Target("db"), WHOLE),))


def test_a_split_without_calls_keeps_its_target() -> None:
    (route,) = compile_chain(_entries(Splitter("api", (Split(100), Split(0, "new")))), "api").routes
    assert _targets(route) == {"api": WHOLE, "new": 0}


def test_header_edits_of_nested_splits_come_together() -> None:
    outer = Split(
        100,
        "cart",
        request_headers=HeaderEdits(set=(("X-Step", "outer"), ("x-outer", "1")), remove=("a",)),
        response_headers=HeaderEdits(add=(("x-by", "outer"),)),
    )
    inner = Split(
        100,
        request_headers=HeaderEdits(set=(("x-step", "inner"),), remove=("A", "b")),
        response_headers=HeaderEdits(add=(("x-by", "inner"), ("x-inner", "1"))),
    )
    entries = _entries(Splitter("api", (outer,)), Splitter("cart", (inner,)))
    (route,) = compile_chain(entries, "api").routes
    assert isinstance(route.action, Forward)
    (share,) = route.action.shares
    # A request passes the outer split first, its answer the inner one: the later has its way.
    assert share.request_headers == HeaderEdits(
        set=(("x-step", "inner"), ("x-outer", "1")), remove=("A", "b")
    )
    assert share.response_headers == HeaderEdits(add=(("x-by", "outer"), ("x-inner", "1")))


def test_splits_that_edit_headers_differently_stay_apart() -> None:
    marked = HeaderEdits(set=(("x-canary", "1"),))
    entries = _entries(Splitter("api", (Split(90), Split(10, "canary", request_headers=marked))))
    canary = Resolver("canary", redirect=ResolverRedirect("api"))
    entries = _entries(*entries.splitters.values(), canary)
    (route,) = compile_chain(entries, "api").routes
    assert route.action == Forward(
        (Share(Target("api"), 9000), Share(Target("api"), 1000, request_headers=marked))
    )


def test_a_loop_of_splitters_is_told_once() -> None:
    entries = _entries(
        Splitter("db", (Split(100, "api"),)),
        Splitter("api", (Split(50), Split(50, "db"))),
        Splitter("edge", (Split(100, "db"),)),
    )
    assert _told(entries, "edge", "db", "api") == [
        "service-splitter api Splits: a loop of splitters: api → db → api"
    ]


def test_weights_add_up() -> None:
    entries = _entries(Splitter("api", (Split(50), Split(40, "db"))))
    assert _told(entries, "api") == [
        "service-splitter api Splits: the weights add up to 90 instead of 100"
    ]


@given(st.lists(st.integers(0, WHOLE), min_size=1, max_size=9).filter(any))
def test_shares_sum_to_the_whole(parts: list[int]) -> None:
    total = sum(parts)
    branches = tuple(Branch(Target(f"s{index}"), part / total) for index, part in enumerate(parts))
    made = shares(branches)
    assert sum(share.weight for share in made) == WHOLE
    for share, branch in zip(made, branches, strict=True):
        assert abs(share.weight - branch.part * WHOLE) < 1 + 1e-6
        assert branch.part or share.weight == 0


# --- Routers


def test_a_router_ends_with_the_service_itself() -> None:
    entries = _entries(
        Router(
            "api",
            (
                RouterRoute(_ORDERS, RouteDestination("orders")),
                RouterRoute(_ORDERS, RouteDestination("orders", "v1")),
            ),
        ),
        Splitter("orders", (Split(100, "cart"),)),
        Splitter("api", (Split(90), Split(10, "next"))),
        Resolver("orders", subsets=_SUBSETS),
    )
    chain = compile_chain(entries, "api")
    through, past, last = chain.routes
    assert _targets(through) == {"cart": WHOLE}
    assert through.origins["shares"] == "service-splitter orders"
    assert _targets(past) == {"v1.orders": WHOLE}
    assert last.match.is_everything
    assert _targets(last) == {"api": 9000, "next": 1000}
    assert last.name == "service-router api"
    assert last.origins == {"route": "service-router api", "shares": "service-splitter api"}
    assert chain.reads == {"api", "orders", "cart", "next"}


def test_only_the_first_router_counts() -> None:
    entries = _entries(
        Router("api", (RouterRoute(_ORDERS, RouteDestination("orders")),)),
        Router("orders", (RouterRoute(_ORDERS, RouteDestination("db")),)),
    )
    assert _targets(compile_chain(entries, "api").routes[0]) == {"orders": WHOLE}


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
    route = compile_chain(_entries(Router("api", (RouterRoute(_ORDERS, wanted),))), "api").routes[0]
    assert route == Route(
        _ORDERS,
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
    entries = _entries(Router("api", (RouterRoute(_ORDERS, wanted),)))
    assert compile_chain(entries, "api").routes[0].retry == expected


def test_what_a_prefix_rewrite_replaces() -> None:
    def rewritten(path: PathMatch | None) -> Forward:
        route = RouterRoute(Match(path=path), RouteDestination(prefix_rewrite="/new"))
        action = compile_chain(_entries(Router("api", (route,))), "api").routes[0].action
        assert isinstance(action, Forward)
        return action

    exact = rewritten(PathMatch(PathKind.EXACT, "/old"))
    assert exact.path == PathRewrite(RewriteKind.FULL, "/new")
    for other in (None, PathMatch(PathKind.REGEX, "/o.*")):
        with pytest.raises(ChainError, match=r"Routes\[0\].Destination.PrefixRewrite: needs"):
            rewritten(other)


# --- What a resolver says of requests


def test_a_resolvers_request_timeout_holds_where_nothing_precedes_it() -> None:
    resolver = Resolver("api", request_timeout=7.0)
    (route,) = compile_chain(_entries(resolver), "api").routes
    assert route.timeouts == Timeouts(request=7.0)
    assert route.origins["timeouts.request"] == "service-resolver api"
    split = _entries(resolver, Splitter("api", (Split(100),)))
    assert compile_chain(split, "api").routes[0].timeouts == Timeouts()
    routed = _entries(resolver, Router("api"))
    assert compile_chain(routed, "api").routes[0].timeouts == Timeouts()
    endless = _entries(Resolver("api", request_timeout=-1.0))
    assert compile_chain(endless, "api").routes[0].timeouts == Timeouts(request=0.0)


def test_a_route_hashes_as_its_first_hashing_target_wants() -> None:
    by_user = HashPolicy(HashKind.HEADER, "x-user")
    ring = LoadBalancing(Balancing.RING_HASH, hashing=(by_user,))
    maglev = LoadBalancing(Balancing.MAGLEV, hashing=(HashPolicy(HashKind.SOURCE_IP),))
    entries = _entries(
        Splitter("api", (Split(50), Split(30, "cart"), Split(20, "db"))),
        Resolver("cart", balancing=ring),
        Resolver("db", balancing=maglev),
    )
    chain = compile_chain(entries, "api")
    assert chain.routes[0].hashing == (by_user,)
    assert chain.routes[0].origins["hashing"] == "service-resolver cart"
    assert chain.resolved[Target("db")].balancing == maglev
    assert chain.resolved[Target("api")].balancing is None


# --- Protocols


def test_routers_and_splitters_need_requests() -> None:
    entries = _entries(Router("api"), Splitter("api", (Split(100, "cart"),)), protocol=Protocol.TCP)
    assert [line.split(":")[0] for line in _told(entries, "api")] == [
        "service-router api api speaks tcp, which has no requests to route or split",
        "service-splitter api api speaks tcp, which has no requests to route or split",
    ]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        (
            Router("api", (RouterRoute(EVERYTHING, RouteDestination("db")),)),
            "service-router api Routes[0].Destination",
        ),
        (Splitter("api", (Split(60), Split(40, "db"))), "service-splitter api Splits[1]"),
        (Resolver("api", redirect=ResolverRedirect("db")), "service-resolver api Redirect"),
        (
            Resolver("api", failover={"*": (FailoverTarget("db"),)}),
            'service-resolver api Failover["*"]',
        ),
    ],
)
def test_one_chain_has_one_protocol(entry: Any, place: str) -> None:
    entries = _entries(entry, ServiceDefaults("db", Protocol.GRPC))
    (told,) = _told(entries, "api")
    assert told.startswith(f"{place}: db speaks grpc and api http: ")


def test_everything_wrong_is_told_at_once() -> None:
    entries = _entries(
        Router(
            "api",
            (
                RouterRoute(EVERYTHING, RouteDestination("shop", "v9")),
                RouterRoute(EVERYTHING, RouteDestination("db")),
            ),
        ),
        Splitter("api", (Split(10),)),
        ServiceDefaults("db", Protocol.TCP),
    )
    with pytest.raises(ChainError) as refused:
        compile_chain(entries, "api")
    assert [each.entry for each in refused.value.faults] == [
        "service-router api",
        "service-router api",
        "service-splitter api",
    ]
    assert _paths(refused.value) == [
        "Routes[0].Destination.ServiceSubset",
        "Routes[1].Destination",
        "Splits",
    ]
    assert refused.value.names == {"api", "shop", "db"}


def _paths(error: ChainError) -> list[str]:
    return [violation.path for violation in error.violations]
