"""Policies that cannot be read close what they guard, whatever readable ones say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.inbound import InboundTraffic, TlsMode
from mesh.model.services import Protocol
from mesh.policies.document import Document, parse
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selector
from mesh.policies.unread import stand_in
from mesh.routing.inbound import compile_inbound
from mesh.world.changes import PoliciesChanged
from mesh.world.facets import Aspect, Facet
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

API = {"kind": "Dataplane", "labels": {"service": "api"}}
ONE = {"kind": "Dataplane", "name": "api-1"}


def unread(kind: str, ref: object = None) -> Document:
    return stand_in(kind, "odd", "default", {"spec": {"targetRef": ref}})


def readable(kind: str, default: dict[str, Any], ref: object = None) -> Document:
    spec = {"targetRef": ref or {"kind": "Mesh"}, "rules": [{"default": default}]}
    return parse({"type": kind, "name": "even", "spec": spec}, KINDS)


def compiled(
    documents: Iterable[Document], *, protocol: Protocol = Protocol.HTTP
) -> InboundTraffic:
    policies = {each.key: each for each in documents}
    entries = Entries({"api": ServiceDefaults("api", protocol)})
    world = World("dc1", "mesh.test", entries=entries, policies=policies)
    return compile_inbound(world, Selector(policies).select("api-1", {"service": "api"}), "api")


@pytest.mark.parametrize("ref", [None, API, ONE])
@pytest.mark.parametrize("kind", ["MeshRequestAuthentication", "MeshExternalAuthorization"])
def test_a_guard_that_cannot_be_read_refuses_every_request(kind: str, ref: object) -> None:
    # The narrowest readable one of the same kind would let them all pass.
    says = {"MeshRequestAuthentication": {"providers": ["p"], "optional": True}}
    other = readable(kind, says.get(kind, {"disabled": True}), ONE)
    (route,) = compiled([unread(kind, ref), other]).routes
    assert route.match.is_everything
    assert f"{kind} odd cannot be read" in route.refusal
    assert route.origins == {kind: f"{kind} odd"}


def test_it_concerns_those_that_it_selects() -> None:
    other = {"kind": "Dataplane", "labels": {"service": "other"}}
    assert compiled([unread("MeshRequestAuthentication", other)]).routes == ()


def test_connections_go_on_where_no_policy_sees_requests() -> None:
    found = compiled([unread("MeshRequestAuthentication")], protocol=Protocol.TCP)
    assert found.routes == ()


def test_plain_text_is_not_taken_while_a_mode_cannot_be_read() -> None:
    permissive = readable("MeshTLS", {"mode": "Permissive"}, ONE)
    assert compiled([permissive]).mode is TlsMode.PERMISSIVE
    assert compiled([permissive, unread("MeshTLS")]).mode is TlsMode.STRICT


def test_the_proxies_learn_of_it_and_of_its_end() -> None:
    world = World("dc1", "mesh.test")
    odd = unread("MeshRequestAuthentication", API)
    closed, touched = reduce(world, PoliciesChanged({odd.key: odd}))
    assert touched == {Facet(Aspect.POLICIES_AT)}
    _, touched = reduce(closed, PoliciesChanged({}))
    assert touched == {Facet(Aspect.POLICIES_AT)}
