"""Compiled chains equal those of a real Consul, over random sets of entries.

Each entry is written by itself: what Consul refuses, ``check_chains`` must find fault with.  Then
the chain of every service is compared: the routes, where each goes by which weight, and for every
target its instances, its connect timeout and its failover.  Consul checks a write against the
chains that it concerns directly; a chain that it breaks further off shows when that is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from mesh.model.destinations import Target
from mesh.model.entries import Entries
from mesh.model.requests import Match
from mesh.model.traffic import WHOLE, Forward, Route
from mesh.model.violations import InvalidInputError
from mesh.routing.chain import Chain, ChainError, Resolved, check_chains, compile_chain
from mesh.sources.consul.entries import (
    SERVICE_RESOLVER,
    SERVICE_ROUTER,
    parse_resolver,
    parse_router,
)
from tests.realconsul import RealConsul
from tests.routing.chain_estates import (
    SECONDS,
    SERVICES,
    ZONE,
    Json,
    estates,
    values,
)
from tests.routing.consul_chains import Chains

_SETS = 320
_CHAINS = 1000

Spread = list[tuple[Target, float]]


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chains]:
    """Run a Consul."""
    with RealConsul(tmp_path_factory.mktemp("consul"), datacenter=ZONE) as server:
        client = Chains(server.port)
        yield client
        client.close()


def test_chains_are_consuls(
    consul: Chains,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    record_property: Any,
) -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=_SETS,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # shrinking against a server would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(estates())
    def compare(estate: tuple[Json, ...]) -> None:
        consul.clear()
        for entry in estate:
            _write(consul, entry, seen)
        for service in SERVICES:
            _compare(consul, values(consul.held.values()), service, seen)
        seen["sets"] += 1

    compare()
    for what, count in sorted(seen.items()):
        record_property(what, count)
    with capsys.disabled():
        told = ", ".join(f"{what} {count}" for what, count in seen.most_common())
        request.config.get_terminal_writer().line(f"\ncompared with Consul: {told}")
    assert seen["sets"] >= _SETS
    assert seen["chains"] >= _CHAINS
    for what, share in _SHARES.items():
        assert seen[what] >= share * seen["chains"], what
    assert seen["writes refused"] >= _SETS / 4


def test_a_chain_broken_further_off(consul: Chains) -> None:
    consul.clear()
    entries: list[Json] = [
        {"Kind": "service-defaults", "Name": "db", "Protocol": "http"},
        {"Kind": "service-defaults", "Name": "cart", "Protocol": "http"},
        {"Kind": "service-splitter", "Name": "billing", "Splits": [_all_to("db")]},
        {
            "Kind": "service-splitter",
            "Name": "api",
            "Splits": [{**_all_to("billing"), "Weight": 50}, {**_all_to("cart"), "Weight": 50}],
        },
        # Consul holds this against the chain of billing, which it suits, but not against api's.
        {"Kind": "service-defaults", "Name": "db", "Protocol": "http2"},
    ]
    for entry in entries:
        assert not consul.write(entry)
    assert consul.chain("api") is None
    held = values(consul.held.values())
    with pytest.raises(ChainError, match="cart speaks http and db http2"):
        compile_chain(held, "api")
    assert [entry for entry, _ in check_chains(held, SERVICES)] == ["service-splitter api"]


def _all_to(service: str) -> Json:
    return {"Weight": 100, "Service": service}


_SHARES = {
    "routed": 0.06,
    "split": 0.20,
    "split again": 0.03,
    "redirected": 0.08,
    "redirected to a default subset": 0.01,
    "with failover": 0.08,
    "with failover to other zones": 0.02,
    "redirected to another zone": 0.004,
}
"""What part of the chains that Consul compiles shows each feature, at least."""


def _write(consul: Chains, entry: Json, seen: Counter[str]) -> None:
    objections = _objections([*consul.held.values(), entry])
    refusal = consul.write(entry)
    if refusal:
        assert objections, f"Consul refuses {entry}: {refusal}"
        seen["writes refused"] += 1
    else:
        seen["writes"] += 1
    if objections and not refusal:
        broken = [service for service in SERVICES if consul.chain(service) is None]
        assert broken, f"Consul takes {entry}, but we say: {objections}"


def _objections(entries: list[Json]) -> list[str]:
    try:
        proposed = values(entries)
    except InvalidInputError as error:
        return [str(error)]
    found = check_chains(proposed, SERVICES, zone=ZONE)
    return [f"{entry} {violation}" for entry, violation in found]


def _compare(consul: Chains, entries: Entries, service: str, seen: Counter[str]) -> None:
    theirs = consul.chain(service)
    if theirs is None:
        with pytest.raises(ChainError):
            compile_chain(entries, service, zone=ZONE)
        seen["chains refused"] += 1
        return
    ours = compile_chain(entries, service, zone=ZONE)
    seen["chains"] += 1
    assert ours.service == theirs["ServiceName"]
    assert ours.protocol == theirs["Protocol"]
    _compare_routes(ours, theirs)
    nodes = [node["Resolver"] for node in theirs["Nodes"].values() if node["Type"] == "resolver"]
    assert set(ours.resolved) == {_target(theirs, node["Target"]) for node in nodes}
    for node in nodes:
        _compare_resolved(ours.resolved[_target(theirs, node["Target"])], node, theirs)
    assert compile_chain(_only(entries, ours.reads), service, zone=ZONE) == ours
    seen.update(_features(entries, ours))


def _compare_routes(ours: Chain, theirs: Json) -> None:
    start = theirs["Nodes"][theirs["StartNode"]]
    if start["Type"] == "router":
        expected = [(each["Definition"], each["NextNode"]) for each in start["Routes"]]
        # The last is Consul's own: every path there is.
        assert expected[-1][0]["Match"] == {"HTTP": {"PathPrefix": "/"}}
        expected[-1] = ({}, expected[-1][1])
    else:
        expected = [({}, theirs["StartNode"])]
    assert len(ours.routes) == len(expected)
    for route, (definition, following) in zip(ours.routes, expected, strict=True):
        assert route.match == _match(definition)
        assert _told(route) == _asked(definition.get("Destination") or {})
        _compare_spread(route, _spread(theirs, following))


def _match(definition: Json) -> Match:
    routes = [{"Match": definition["Match"]}] if "Match" in definition else [{}]
    return parse_router({"Kind": SERVICE_ROUTER, "Name": "any", "Routes": routes}).routes[0].match


def _told(route: Route) -> Json:
    assert isinstance(route.action, Forward)
    return {
        "rewrite": route.action.path.value if route.action.path else "",
        "timeout": route.timeouts.request,
        "retries": route.retry.attempts if route.retry else 0,
        "on": route.retry.on if route.retry else (),
        "statuses": route.retry.statuses if route.retry else (),
    }


def _asked(destination: Json) -> Json:
    on = {
        "connect-failure": destination.get("RetryOnConnectFailure"),
        "retriable-status-codes": destination.get("RetryOnStatusCodes"),
    }
    conditions = tuple(name for name, asked in on.items() if asked)
    return {
        "rewrite": destination.get("PrefixRewrite", ""),
        "timeout": SECONDS.get(destination.get("RequestTimeout", "")),
        "retries": destination.get("NumRetries", 1 if conditions else 0),
        "on": conditions,
        "statuses": tuple(dict.fromkeys(destination.get("RetryOnStatusCodes", ()))),
    }


def _spread(theirs: Json, node: str) -> Spread:
    found = theirs["Nodes"][node]
    if found["Type"] == "resolver":
        return [(_target(theirs, found["Resolver"]["Target"]), 100.0)]
    assert found["Type"] == "splitter"
    spread: Spread = []
    for split in found["Splits"]:
        following = theirs["Nodes"][split["NextNode"]]
        spread.append((_target(theirs, following["Resolver"]["Target"]), split.get("Weight", 0)))
    return spread


def _compare_spread(route: Route, spread: Spread) -> None:
    assert isinstance(route.action, Forward)
    shares = route.action.shares
    assert sum(share.weight for share in shares) == WHOLE
    assert [share.target for share in shares] == list(dict.fromkeys(each for each, _ in spread))
    for share in shares:
        weights = [weight for target, weight in spread if target == share.target]
        # Consul rounds each branch to a hundredth; what ends at one target is one share here.
        assert share.weight / 100 == pytest.approx(sum(weights), abs=0.0101 * len(weights))


def _compare_resolved(ours: Resolved, node: Json, theirs: Json) -> None:
    known = theirs["Targets"][node["Target"]]
    subset = parse_resolver(
        {"Kind": SERVICE_RESOLVER, "Name": "any", "Subsets": {"any": known["Subset"]}}
    ).subsets["any"]
    assert ours.selection.filter == subset.filter
    assert ours.selection.only_passing == subset.only_passing
    assert ours.connect_timeout == {"5s": 5.0, **SECONDS}[node["ConnectTimeout"]]
    turned = [theirs["Targets"][each] for each in node.get("Failover", {}).get("Targets", ())]
    # Consul also lists a target twice, or as its own failover, which changes nothing.
    named = dict.fromkeys(_target(theirs, each["ID"]) for each in turned)
    assert [each.target for each in ours.failover] == [
        each for each in named if each != ours.target
    ]


def _target(theirs: Json, name: str) -> Target:
    found = theirs["Targets"][name]
    zone = found["Datacenter"]
    return Target(found["Service"], found.get("ServiceSubset", ""), "" if zone == ZONE else zone)


def _only(entries: Entries, names: frozenset[str]) -> Entries:
    def kept(found: Any) -> Any:
        return {name: entry for name, entry in found.items() if name in names}

    return Entries(
        service_defaults=kept(entries.service_defaults),
        proxy_defaults=entries.proxy_defaults,
        routers=kept(entries.routers),
        splitters=kept(entries.splitters),
        resolvers=kept(entries.resolvers),
    )


def _features(entries: Entries, chain: Chain) -> Iterator[str]:
    """Name what is to be seen in a chain, so that the test knows that it saw it."""
    if len(chain.routes) > 1:
        yield "routed"
    splitter = entries.splitters.get(chain.service)
    if splitter is not None:
        yield "split"
        inner = {split.service for split in splitter.splits if not split.subset}
        if (inner - {chain.service}) & set(entries.splitters):
            yield "split again"
    redirects = [
        found.redirect for name in chain.reads if (found := entries.resolvers.get(name)) is not None
    ]
    if any(redirects):
        yield "redirected"
    defaults = {
        Target(found.name, found.default_subset)
        for found in entries.resolvers.values()
        if found.default_subset
    }
    if any(each and not each.subset for each in redirects) and defaults & set(chain.resolved):
        yield "redirected to a default subset"
    if any(found.failover for found in chain.resolved.values()):
        yield "with failover"
    if any(one.target.zone for found in chain.resolved.values() for one in found.failover):
        yield "with failover to other zones"
    if any(target.zone for target in chain.resolved):
        yield "redirected to another zone"
