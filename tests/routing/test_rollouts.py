"""What a rollout does to calls, and when it cannot do it."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.destinations import Target
from mesh.model.entries import (
    Entries,
    Resolver,
    ResolverRedirect,
    ServiceDefaults,
    Split,
    Splitter,
    Subset,
)
from mesh.model.intentions import Action, Intention, Permission
from mesh.model.rollouts import Rollout
from mesh.model.services import Health, Instance, Protocol
from mesh.model.traffic import Forward
from mesh.policies.document import Document, parse
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.routing.bexpr import parse as filter_of
from mesh.routing.outbound import compile_traffic
from mesh.routing.rollouts import obstacle, still_divides
from mesh.routing.validate import violations
from mesh.world.changes import IntentionsChanged
from mesh.world.snapshot import World

V1, V2 = Target("api", "v1"), Target("api", "v2")
SUBSETS = {
    version: Subset(filter_of(f"Service.Meta.version == {version}")) for version in ("v1", "v2")
}
ONLY_GET = (Permission(Action.ALLOW, methods=("GET",)),)
HTTP = {name: ServiceDefaults(name, Protocol.HTTP) for name in ("api", "next")}


def entries(default: str = "v1", **more: Any) -> Entries:
    resolver = Resolver("api", default_subset=default, subsets=SUBSETS)
    return Entries(HTTP, resolvers={"api": resolver}, **more)


def world(found: Entries, canary: Target = V2, weight: int = 2500) -> World:
    rollout = Rollout("one", V1, canary, weight)
    return World("dc1", "mesh.test", entries=found, rollouts={"api": rollout})


def shares(found: World) -> dict[str, int]:
    traffic = compile_traffic(found, Selection(), "web", "api").traffic
    action = traffic.routes[-1].action
    assert isinstance(action, Forward)
    assert set(traffic.destinations) >= {share.target for share in action.shares}
    return {share.target.name: share.weight for share in action.shares}


def document(name: str = "one", **said: Any) -> Document:
    spec = {
        "service": "api",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v2"},
        "steps": [{"weight": 5, "hold": "1m"}],
        **said,
    }
    return parse({"type": "MeshRollout", "name": name, "spec": spec}, KINDS)


def test_calls_that_end_at_stable_are_divided() -> None:
    assert shares(world(entries())) == {"v1.api": 7500, "v2.api": 2500}
    compiled = compile_traffic(world(entries()), Selection(), "web", "api")
    assert compiled.traffic.routes[-1].origins["shares"] == "MeshRollout one"


def test_of_a_split_only_the_stable_part_is_divided() -> None:
    splitter = Splitter("api", (Split(40, "api", "v1"), Split(60, "next")))
    found = entries(splitters={"api": splitter})
    assert shares(world(found)) == {"v1.api": 3000, "v2.api": 1000, "next": 6000}


@pytest.mark.parametrize("canary", [Target("api", "v3"), V1, Target("nothttp")])
def test_what_cannot_be_reached_takes_no_calls(canary: Target) -> None:
    assert shares(world(entries(), canary)) == {"v1.api": 10_000}


def test_calls_that_end_elsewhere_are_left_alone() -> None:
    assert shares(world(entries(default="v2"))) == {"v2.api": 10_000}


def test_a_promoted_rollout_is_needed_until_the_resolver_says_the_same() -> None:
    assert still_divides(entries(), V1)
    assert not still_divides(entries(default="v2"), V1)
    # Nobody knows: it stays.
    assert still_divides(Entries(HTTP), V1)


@pytest.mark.parametrize(
    ("said", "found", "why"),
    [
        ({}, entries(), ""),
        ({"canary": {"subset": "v3"}}, entries(), "v3"),
        ({"canary": {}}, entries(), "both v1.api"),
        ({"canary": {"service": "old"}}, entries(), "different protocols"),
        (
            {"stable": {}},
            Entries(HTTP, resolvers={"api": Resolver("api", redirect=ResolverRedirect("next"))}),
            "end at next",
        ),
    ],
)
def test_what_stands_in_the_way_is_told(said: dict[str, Any], found: Entries, why: str) -> None:
    wrong = violations(found, {document(**said).key: document(**said)})
    if not why:
        assert wrong == ()
    else:
        assert [label for label, _ in wrong] == ["MeshRollout one"]
        assert why in str(wrong[0][1])


def test_the_second_for_a_service_is_told_of_the_first() -> None:
    both = {one.key: one for one in (document(), document("two"))}
    ((label, violation),) = violations(entries(), both)
    assert (label, violation.message) == (
        "MeshRollout two",
        "MeshRollout one divides the calls to api already",
    )


def test_a_canary_without_a_healthy_instance_is_not_begun_with() -> None:
    def with_health(health: Health) -> World:
        instances = (
            Instance("api-1", "n1", "10.0.0.1", 1, meta={"version": "v1"}),
            Instance("api-2", "n2", "10.0.0.2", 1, health, meta={"version": "v2"}),
        )
        return World("dc1", "mesh.test", entries=entries(), instances={"api": instances})

    assert obstacle(with_health(Health.PASSING), document()) == ""
    assert obstacle(with_health(Health.CRITICAL), document()) == "v2.api has no healthy instance"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((), "web may call api, but not next in the same way"),
        ((Intention("web", "next", Action.ALLOW),), ""),
        ((Intention("*", "next", Action.ALLOW),), ""),
        ((Intention("web", "next", permissions=ONLY_GET),), "web may call api, but not next"),
    ],
)
def test_a_canary_that_is_another_service_lets_in_the_same_callers(
    more: tuple[Intention, ...], why: str
) -> None:
    said = IntentionsChanged.of((Intention("web", "api", Action.ALLOW), *more))
    found = World("dc1", "mesh.test", entries=entries(), intentions=dict(said.by_destination))
    assert obstacle(found, document(canary={"service": "next"})).partition(":")[0].startswith(why)
    assert bool(why) is bool(obstacle(found, document(canary={"service": "next"})))
