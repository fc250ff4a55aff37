"""The way of a call: the route it takes, what it is by then, and what it meets at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mesh.model.entries import Entries, FailoverTarget, Resolver, ServiceDefaults
from mesh.model.proxies import ProxyNeed
from mesh.model.requests import EVERYTHING, HeaderEdits, Match, PathKind, PathMatch
from mesh.model.services import Health, Instance, Protocol
from mesh.model.traffic import Forward, PathRewrite, RewriteKind, Route
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.render.parties import UnknownProxyError, caller
from mesh.render.way import Standing, Way, arrived, walk
from mesh.render.way_document import document
from mesh.routing.requests import Request
from mesh.world.snapshot import World

WEB = ProxyNeed("web", "dc1", None, id="web-1", labels=(("locality", "here"),))
FAULTS = """
type: MeshFaultInjection
name: faults
spec:
  targetRef: {kind: Dataplane, labels: {service: api}}
  rules:
    - matches: [{path: {type: PathPrefix, value: /bad}}]
      default: {http: {abort: {httpStatus: 503, percentage: 10}}}
"""


def instance(service: str, number: int, health: Health = Health.PASSING, **meta: str) -> Instance:
    name = f"{service}-{number}-sidecar-proxy"
    return Instance(name, "n1", "127.0.0.1", 20_000 + number, health=health, meta=meta)


def world(*texts: str, **entries: Any) -> World:
    names = ("api", "spare")
    defaults = {name: ServiceDefaults(name, Protocol.HTTP) for name in names}
    found = [parse(yaml.safe_load(text), KINDS) for text in texts]
    return World(
        "dc1",
        "mesh.test",
        default_allow=True,
        instances={
            "api": (
                instance("api", 1, locality="here"),
                instance("api", 2, Health.CRITICAL),
                instance("api", 3, locality="there"),
            ),
            "spare": (instance("spare", 1),),
        },
        entries=Entries(service_defaults=defaults, **entries),
        policies={each.key: each for each in found},
    )


def standings(way: Way) -> dict[str, tuple[Standing, int]]:
    (end,) = way.ends
    return {
        place.instance.id.removesuffix("-sidecar-proxy"): (place.standing, place.priority)
        for place in end.places
    }


def test_a_critical_instance_gets_nothing() -> None:
    assert standings(walk(world(), WEB, "api", Request(), {})) == {
        "api-1": (Standing.USED, 0),
        "api-3": (Standing.USED, 0),
        "api-2": (Standing.CRITICAL, 0),
    }


def test_failover_stands_by_until_nobody_is_left_before_it() -> None:
    resolver = Resolver("api", failover={"*": (FailoverTarget("spare"),)})
    found = world(resolvers={"api": resolver})
    assert standings(walk(found, WEB, "api", Request(), {}))["spare-1"] == (Standing.STANDBY, 1)
    gone = replace(found, instances={**found.instances, "api": ()})
    assert standings(walk(gone, WEB, "api", Request(), {})) == {"spare-1": (Standing.USED, 1)}


def test_instances_that_nobody_asked_about_are_unknown_rather_than_none() -> None:
    found = replace(world(), instances={})
    (end,) = walk(found, WEB, "api", Request(), {}).ends
    assert (end.places, end.unknown) == ((), ("api",))


def test_a_chain_that_makes_no_sense_says_why() -> None:
    way = walk(world(resolvers={"api": Resolver("api", "gone")}), WEB, "api", Request(), {})
    assert [fault.entry for fault in way.faults] == ["service-resolver api"]
    assert document(way)["routes"][0]["action"] == "answer 503"


def test_the_callee_judges_the_request_that_arrives() -> None:
    def met(path: str) -> Any:
        way = document(walk(world(FAULTS), WEB, "api", Request(target=path), {}))
        (callee,) = way["targets"][0]["callee"]
        return callee["proxies"], callee["route"].get("fault", {}).get("abort")

    names = ["api-1", "api-2", "api-3"]
    assert met("/bad/x") == (names, {"percent": 10, "status": 503})
    assert met("/good") == (names, None)


@pytest.mark.parametrize(
    ("kind", "value", "rewrite", "target", "expected"),
    [
        (PathKind.SEGMENTS, "/a", "/b", "/a/c?q=1", "/b/c?q=1"),
        (PathKind.SEGMENTS, "/a", "/", "/a/c", "/c"),
        (PathKind.SEGMENTS, "/a", "/b", "/a", "/b"),
        (PathKind.SEGMENTS, "/", "/b", "/x", "/b/x"),
        (PathKind.PREFIX, "/a", "/b", "/axe", "/bxe"),
    ],
)
def test_a_prefix_is_rewritten_as_envoy_does(
    kind: PathKind, value: str, rewrite: str, target: str, expected: str
) -> None:
    action = Forward((), PathRewrite(RewriteKind.PREFIX, rewrite))
    route = Route(Match(PathMatch(kind, value)), action)
    assert arrived(route, Request(target=target)).target == expected


def test_headers_arrive_as_the_route_edits_them() -> None:
    edits = HeaderEdits(add=(("X-A", "2"),), set=(("X-B", "new"),), remove=("X-C",))
    route = Route(EVERYTHING, Forward(()), request_headers=edits)
    sent = Request(headers={"x-a": "1", "x-b": "old", "x-c": "gone"})
    assert arrived(route, sent).headers == {"x-a": "1,2", "x-b": "new"}


def test_connected_proxies_are_preferred_to_what_is_registered() -> None:
    found = world()
    (chosen, others) = caller(found, "api", "", {})
    assert (chosen.id, others) == ("api-1", ("api-2", "api-3"))
    connected = {"api": [ProxyNeed("api", "dc1", None, id="api-9")]}
    assert caller(found, "api", "", connected)[0].id == "api-9"
    assert caller(found, "nobody", "", {})[0].id == ""
    with pytest.raises(UnknownProxyError, match="api has no proxy 'x'; those known are: api-9"):
        caller(found, "api", "x", connected)
