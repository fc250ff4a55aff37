"""Which zones stand in for which."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from mesh.model.destinations import Target, ZoneRule
from mesh.model.entries import (
    Entries,
    FailoverTarget,
    Resolver,
    ResolverRedirect,
    ServiceDefaults,
    Subset,
)
from mesh.model.services import Instance, Protocol
from mesh.model.traffic import Traffic
from mesh.model.zones import Exported, Gateway, Zone
from mesh.policies import defaults
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.policies.selection import NOTHING_SELECTED, Selection
from mesh.routing.instances import selected
from mesh.routing.outbound import Compiled, compile_traffic
from mesh.routing.zones import considered, elsewhere
from mesh.world.snapshot import World

HTTP = Exported(Protocol.HTTP, 2, {"v2": 1})


def zone(name: str, distance: float | None = None, **services: Exported) -> Zone:
    gateways = (Gateway("10.0.0.1", 10001), Gateway("10.0.0.2", 10001))
    return Zone(name, "mesh.test", "PEM", gateways, services, distance)


def world(*zones: Zone, entries: Entries | None = None) -> World:
    return World(
        "here",
        "mesh.test",
        entries=entries or Entries({"api": ServiceDefaults("api", Protocol.HTTP)}),
        zones={one.name: one for one in zones},
    )


THREE = (zone("far", 90.0, api=HTTP), zone("near", 4.0, api=HTTP), zone("unknown", api=HTTP))


def names(found: World, rules: tuple[ZoneRule, ...] | None = None, **what: str) -> list[str]:
    target = Target("api", **what)
    return [one.target.name for one in elsewhere(found, target, Protocol.HTTP, rules)]


def composed(found: World, called: str = "api") -> Compiled:
    return compile_traffic(found, NOTHING_SELECTED, "web", called)


def only(traffic: Traffic) -> Target:
    (target,) = traffic.destinations
    return target


def test_the_nearest_stands_in_first() -> None:
    assert names(world(*THREE)) == ["api@near", "api@far", "api@unknown"]


def test_who_cannot_stand_in_does_not() -> None:
    found = world(
        zone("dumb", api=Exported(Protocol.TCP, 1)),
        zone("other", db=HTTP),
        zone("dead", api=replace(HTTP, healthy=0)),
        zone("whole", api=replace(HTTP, subsets={})),
    )
    # That nobody answers at the moment is for the endpoints to say.
    assert names(found) == ["api@dead", "api@whole"]
    assert names(found, subset="v2") == ["v2.api@dead"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), []),
        ((ZoneRule(zones=("far", "near", "nowhere")),), ["api@far", "api@near"]),
        ((ZoneRule(zones=("far",)), ZoneRule(others=True)), ["api@far", "api@near", "api@unknown"]),
        ((ZoneRule(zones=("near",), others=True),), ["api@far", "api@unknown"]),
        ((ZoneRule(origins=("there",), others=True),), []),
        ((ZoneRule(origins=("here",), zones=("far",)),), ["api@far"]),
        ((ZoneRule(),), []),
    ],
)
def test_rules_choose_and_order(rules: tuple[ZoneRule, ...], expected: list[str]) -> None:
    assert names(world(*THREE), rules) == expected


def test_nobody_stands_in_for_a_zone_that_is_named() -> None:
    assert not names(world(*THREE), zone="far")


def test_a_service_fails_over_without_anybody_saying_so() -> None:
    compiled = composed(world(*THREE))
    destination = compiled.traffic.destinations[Target("api")]
    assert [one.target.zone for one in destination.failover] == ["near", "far", "unknown"]
    assert destination.zones == ("near", "far", "unknown")
    assert compiled.services == {"api"}
    assert destination.settings.outlier is not None
    assert destination.settings.outlier.max_ejection_percent == 100
    (route,) = compiled.traffic.routes
    assert route.retry == replace(defaults.RETRY, fails_over=True)


def test_alone_it_is_as_it_was() -> None:
    destination = composed(world()).traffic.destinations[Target("api")]
    assert destination.settings.outlier == defaults.OUTLIER
    assert not destination.failover


def test_an_entry_that_says_how_to_fail_over_has_the_word() -> None:
    turns = {"*": (FailoverTarget(zone="far"), FailoverTarget("spare"))}
    entries = Entries(resolvers={"api": Resolver("api", failover=turns)})
    compiled = composed(world(*THREE, entries=entries))
    destination = compiled.traffic.destinations[Target("api")]
    assert [one.target.name for one in destination.failover] == ["api@far", "spare"]
    assert compiled.services == {"api", "spare"}
    of_subset = {"v1": (FailoverTarget("spare"),)}
    subsets = {"v1": Subset(), "v2": Subset()}
    resolver = Resolver("api", default_subset="v2", subsets=subsets, failover=of_subset)
    found = composed(
        world(
            *THREE,
            entries=Entries(
                {"api": ServiceDefaults("api", Protocol.HTTP)}, resolvers={"api": resolver}
            ),
        )
    )
    # Of the subset v2 nothing was said.
    assert found.traffic.destinations[Target("api", "v2")].zones == ("near", "far", "unknown")


def test_a_policy_that_says_which_zones_goes_over_an_entry() -> None:
    turns = {"*": (FailoverTarget("spare"), FailoverTarget(zone="far"))}
    both = {name: ServiceDefaults(name, Protocol.HTTP) for name in ("api", "spare")}
    entries = Entries(both, resolvers={"api": Resolver("api", failover=turns)})
    raw = yaml.safe_load("""
        type: MeshLoadBalancingStrategy
        name: near
        spec:
          to:
            - targetRef: {kind: MeshService, name: api}
              default:
                localityAwareness:
                  crossZone: {failover: [{to: {type: Only, zones: [near]}}]}
    """)
    document = parse(raw, KINDS)
    compiled = compile_traffic(world(*THREE, entries=entries), Selection((document,)), "web", "api")
    destination = compiled.traffic.destinations[Target("api")]
    # What the entry turns to in the zone itself stands.
    assert [one.target.name for one in destination.failover] == ["spare", "api@near"]
    assert ("failover", "service-resolver api") in compiled.losers


def test_a_redirect_to_another_zone_needs_no_instance_here() -> None:
    entries = Entries(
        resolvers={"api": Resolver("api", redirect=ResolverRedirect("api", zone="far"))}
    )
    compiled = composed(world(*THREE, entries=entries))
    assert only(compiled.traffic) == Target("api", zone="far")
    assert not compiled.services
    assert not compiled.traffic.destinations[Target("api", zone="far")].failover


def test_a_call_may_be_pinned_to_a_zone() -> None:
    turns = {"*": (FailoverTarget("spare"),)}
    entries = Entries(resolvers={"api": Resolver("api", failover=turns)})
    found = world(*THREE, entries=entries)
    for called, target in (
        ("api@far", Target("api", zone="far")),
        ("api@here", Target("api", zone=".")),
    ):
        compiled = composed(found, called)
        assert only(compiled.traffic) == target
        assert not compiled.traffic.destinations[target].failover
    assert composed(found, "api@here").services == {"api"}
    unknown = composed(found, "api@moon")
    assert unknown.error is not None
    assert "there is no zone moon; those known are: far, here, near, unknown" in str(unknown.error)


def test_the_places_in_another_zone_are_its_gateways() -> None:
    found = world(zone("west", api=HTTP), zone("dead", api=replace(HTTP, healthy=0)))
    compiled = composed(found)
    west, dead = reversed(compiled.traffic.destinations[Target("api")].failover)
    assert [one.address for one in selected(found, west)] == ["10.0.0.1", "10.0.0.2"]
    assert selected(found, dead) == ()


def test_a_pinned_call_here_has_the_instances_of_here() -> None:
    one = Instance("api-1", "n1", "10.1.0.1", 15006)
    found = replace(world(*THREE), instances={"api": (one,)})
    destination = composed(found, "api@here").traffic.destinations[Target("api", zone=".")]
    assert selected(found, destination.selection) == (one,)


def test_it_can_be_told_why_a_zone_is_tried_or_not() -> None:
    found = world(
        zone("dead", 1.0, api=replace(HTTP, healthy=0)),
        zone("dumb", 2.0, api=Exported(Protocol.TCP, 1)),
        zone("good", 3.0, api=HTTP),
        zone("other", 4.0, db=HTTP),
    )
    destination = composed(found).traffic.destinations[Target("api")]
    told = [(one.zone.name, one.is_tried, one.verdict) for one in considered(found, destination)]
    assert told == [
        ("dead", True, "nobody answers there"),
        ("good", True, "2 answer there"),
        ("dumb", False, "speaks tcp there"),
        ("other", False, "does not let api be called"),
    ]
