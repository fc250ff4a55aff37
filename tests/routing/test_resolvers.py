"""What references end at: subsets, redirects and failover."""

from __future__ import annotations

import pytest

from mesh.model.destinations import Target
from mesh.model.entries import (
    FailoverTarget,
    Resolver,
    ResolverRedirect,
    RouteDestination,
    Router,
    RouterRoute,
    ServiceDefaults,
    Split,
    Splitter,
)
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Route, Share
from mesh.routing.chain import (
    CONNECT_TIMEOUT,
    ChainError,
    compile_chain,
    resolve,
)
from tests.routing.chain_parts import SUBSETS, V1, blamed, entries_of


def test_a_service_without_entries_is_itself() -> None:
    chain = compile_chain(entries_of(protocol=Protocol.TCP), "api")
    assert chain.protocol is Protocol.TCP
    assert chain.routes == (Route(EVERYTHING, Forward((Share(Target("api")),))),)
    assert chain.resolved[Target("api")].connect_timeout == CONNECT_TIMEOUT
    assert chain.reads == {"api"}


def test_a_redirect_ends_in_the_default_subset() -> None:
    entries = entries_of(
        Resolver("api", redirect=ResolverRedirect("shop")),
        Resolver("shop", "v1", SUBSETS, connect_timeout=2.0),
    )
    found = resolve(entries, "api")
    assert found.target == Target("shop", "v1")
    assert found.selection.filter == V1
    assert found.connect_timeout == 2.0
    assert found.origins["connect_timeout"] == "service-resolver shop"
    assert found.reads == {"api", "shop"}


def test_a_redirect_forgets_the_subset_asked_for() -> None:
    entries = entries_of(Resolver("api", subsets=SUBSETS, redirect=ResolverRedirect("shop")))
    assert resolve(entries, "api", "v1").target == Target("shop")


def test_failover_by_subset_before_the_general_one() -> None:
    failover = {"v1": (FailoverTarget(subset="v2"),), "*": (FailoverTarget("spare"),)}
    entries = entries_of(Resolver("api", subsets=SUBSETS, failover=failover))
    (one,) = resolve(entries, "api", "v1").failover
    assert (one.target, one.only_passing) == (Target("api", "v2"), True)
    (other,) = resolve(entries, "api", "v2").failover
    assert other.target == Target("spare")


def test_failover_follows_redirects_but_no_further_failover() -> None:
    entries = entries_of(
        Resolver("api", failover={"*": (FailoverTarget("spare"),)}),
        Resolver("spare", redirect=ResolverRedirect("stand-in")),
        Resolver("stand-in", "v1", SUBSETS, failover={"*": (FailoverTarget("last"),)}),
    )
    found = resolve(entries, "api")
    assert [one.target for one in found.failover] == [Target("stand-in", "v1")]
    assert found.reads == {"api", "spare", "stand-in"}


def test_failover_never_repeats_itself() -> None:
    turns = tuple(map(FailoverTarget, ("api", "spare", "back", "spare")))
    entries = entries_of(
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
    found = resolve(entries_of(Resolver("api", failover={"*": turns})), "api", zone="here")
    names = ["api@west", "spare", "spare@east", "other@west"]
    assert [one.target.name for one in found.failover] == names
    assert found.fails_over
    assert not resolve(entries_of(Resolver("api")), "api").fails_over


def test_a_redirect_to_another_zone_goes_there_and_to_our_own_is_none() -> None:
    turns = {"*": (FailoverTarget("spare"), FailoverTarget(zone="here"))}
    entries = entries_of(
        Resolver("api", redirect=ResolverRedirect("db", zone="west")),
        Resolver("db", failover=turns),
    )
    assert resolve(entries, "api", zone="west").target == Target("db")
    found = resolve(entries, "api", zone="here")
    assert found.target == Target("db", zone="west")
    # What a failover leaves unsaid stays as it is where it turns from: the zone, too.
    assert [one.target for one in found.failover] == [Target("spare", zone="west"), Target("db")]


def test_a_reference_may_name_another_zone() -> None:
    entries = entries_of(Resolver("api", default_subset="v1", subsets=SUBSETS))
    assert resolve(entries, "api", zone="here", at="west").target == Target("api", "v1", "west")
    assert resolve(entries, "api", zone="here", at="here").target == Target("api", "v1")


def test_a_missing_subset_is_blamed_on_who_asked() -> None:
    wrong = Split(50, "cart", "v9")
    entries = entries_of(
        Router("api", (RouterRoute(EVERYTHING, RouteDestination("shop", "v3")),)),
        Splitter("api", (Split(50), wrong)),
        Resolver("shop", subsets=SUBSETS),
        Resolver("db", redirect=ResolverRedirect("shop", "v4")),
        Resolver("cache", failover={"*": (FailoverTarget("shop", "v5"),)}),
        Resolver("queue", default_subset="v6"),
    )
    told = blamed(entries, "api", "db", "cache", "queue")
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
    entries = entries_of(
        *(
            Resolver(name, redirect=ResolverRedirect(ring[index - 1]))
            for index, name in enumerate(ring)
        ),
        Resolver("edge", redirect=ResolverRedirect("cart")),
    )
    assert blamed(entries, "edge", *ring) == [
        "service-resolver api Redirect: a loop of redirects: api → cart → db → api"
    ]
    with pytest.raises(ChainError) as refused:
        compile_chain(entries, "edge")
    assert refused.value.names == {"edge", *ring}


def test_an_external_service_stays_itself() -> None:
    outside = ServiceDefaults("pay", Protocol.HTTP, "pay.example.com")
    entries = entries_of(
        outside,
        Resolver("pay", subsets=SUBSETS, failover={"*": (FailoverTarget("spare"),)}),
    )
    assert [line.split(":")[0] for line in blamed(entries, "pay")] == [
        "service-resolver pay Subsets",
        "service-resolver pay Failover",
    ]
    assert resolve(entries_of(outside), "pay").target == Target("pay")
