"""The capture side of a proxy: there where it captures, and as its MeshPassthrough says."""

from __future__ import annotations

from typing import Any

import yaml

from mesh.envoy.capture import CAPTURE, PASSTHROUGH
from mesh.envoy.resource import CLUSTER, LISTENER, Resource, unpack
from mesh.model.proxies import Capture, Inbound, ProxyNeed
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.render.renderer import Renderer
from mesh.world.changes import PoliciesChanged
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

PLACE = Capture("127.0.0.1", 15_001)
WEB = ProxyNeed("web", "dc1", None, id="web-1", capture=PLACE)
API = ProxyNeed(
    "api", "dc1", Inbound("127.0.0.1", 15_006, "127.0.0.1", 80), id="api-1", capture=PLACE
)
CLOSED = "{targetRef: {kind: Dataplane, labels: {service: web}}, default: {passthroughMode: None}}"
EVERYBODYS = """
default:
  appendMatch: [{type: Domain, value: example.com, port: 443, protocol: tls}]
"""


def apply(renderer: Renderer, **specs: str) -> dict[int, Any]:
    """Apply MeshPassthroughs by name, and no other policy; return the new snapshots."""
    raws = [
        {"type": "MeshPassthrough", "name": name, "spec": yaml.safe_load(spec)}
        for name, spec in specs.items()
    ]
    documents = {(raw["type"], raw["name"]): parse(raw, KINDS) for raw in raws}
    return dict(renderer.advance(*reduce(renderer.world, PoliciesChanged(documents))))


def names(resources: tuple[Resource, ...]) -> list[str]:
    return [resource.name for resource in resources]


def rest(snapshot: Any) -> str:
    """Return the filter of what no chain is for, as text."""
    (found,) = [one for one in snapshot[LISTENER] if one.name == CAPTURE]
    return str(unpack(found).default_filter_chain)


def test_nothing_is_there_without_a_place() -> None:
    snapshot = Renderer(World("dc1", "td")).connect(1, ProxyNeed("web", "dc1", None))
    assert not any(snapshot.values())


def test_without_a_policy_all_passes() -> None:
    snapshot = Renderer(World("dc1", "td")).connect(1, WEB)
    assert names(snapshot[LISTENER]) == [CAPTURE]
    assert names(snapshot[CLUSTER]) == [PASSTHROUGH]
    assert PASSTHROUGH in rest(snapshot)


def test_it_stands_beside_the_inbound_side() -> None:
    snapshot = Renderer(World("dc1", "td")).connect(1, API)
    assert names(snapshot[LISTENER]) == [CAPTURE, "inbound"]
    assert names(snapshot[CLUSTER]) == [PASSTHROUGH, "local:app"]


def test_a_policy_reaches_whom_it_selects_and_nobody_else_and_goes_again() -> None:
    renderer = Renderer(World("dc1", "td"))
    before = renderer.connect(1, WEB)
    renderer.connect(2, API)
    closed = apply(renderer, closed=CLOSED)
    assert set(closed) == {1}
    assert "web may not call" in rest(closed[1])
    assert names(closed[1][CLUSTER]) == []
    assert apply(renderer) == {1: before}


def test_the_specific_policy_has_the_last_word() -> None:
    renderer = Renderer(World("dc1", "td"))
    renderer.connect(1, WEB)
    renderer.connect(2, API)
    found = apply(renderer, a=EVERYBODYS, b=CLOSED)
    assert "lets nobody outside the mesh be called" in rest(found[1])
    assert "no match of MeshPassthrough lets it through" in rest(found[2])


def test_proxies_of_a_service_share_what_they_are_sent() -> None:
    renderer = Renderer(World("dc1", "td"))
    first = renderer.connect(1, WEB)
    second = renderer.connect(2, ProxyNeed("web", "dc1", None, id="web-2", capture=PLACE))
    assert first[LISTENER][0] is second[LISTENER][0]


def test_nothing_is_kept_for_a_proxy_that_has_gone() -> None:
    renderer = Renderer(World("dc1", "td"))
    renderer.connect(1, WEB)
    renderer.disconnect(1)
    assert renderer.is_empty
