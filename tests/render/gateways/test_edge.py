"""What an edge gateway is sent, and when it is sent something else."""

from __future__ import annotations

from typing import Any

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, unpack
from mesh.model.edge import Edge, EdgeListener, EdgeProtocol, Exposed
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Inbound, ProxyNeed, Role
from mesh.model.services import Instance, Protocol
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.world.changes import (
    CatalogChanged,
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
    PoliciesChanged,
)
from mesh.world.snapshot import World
from tests.render.gateways.moving import Moving, names

NEED = ProxyNeed("edge", "west", Inbound("::", 10003, "::1", 10003), role=Role.EDGE, id="edge-1")
HTTP = {name: ServiceDefaults(name, Protocol.HTTP) for name in ("web", "api")}
ALLOWED = IntentionsChanged.of([Intention("edge", "*", Action.ALLOW)])


def entries(*services: Exposed) -> ConfigEntriesChanged:
    listener = EdgeListener(8080, EdgeProtocol.HTTP, services)
    edges = {"edge": Edge("edge", (listener,))} if services else {}
    return ConfigEntriesChanged(Entries(service_defaults=HTTP, edges=edges), {})


def policy(listeners: list[Any]) -> PoliciesChanged:
    target = {"kind": "Dataplane", "labels": {"service": "edge"}}
    spec = {"targetRef": target, "listeners": listeners}
    found = parse({"type": "MeshGateway", "name": "edge", "spec": spec}, KINDS)
    return PoliciesChanged({found.key: found})


def zone_of_two() -> Moving:
    """Return a zone in which ``web`` and ``api`` have an instance each, and nothing is served."""
    return Moving(
        World("west", "mesh.test"),
        CatalogChanged(frozenset({"web", "api", "edge"})),
        ALLOWED,
        entries(),
        *(
            InstancesChanged(name, (Instance(f"{name}-1", "n1", "10.0.0.1", 15006),))
            for name in ("web", "api")
        ),
    )


def test_it_has_what_it_serves_and_nothing_else() -> None:
    zone = zone_of_two()
    zone.say(entries(Exposed("web", ("shop.test",))))
    snapshot = zone.renderer.connect(1, NEED)
    assert names(snapshot, LISTENER) == ["edge:8080", "inbound"]
    assert names(snapshot, CLUSTER) == names(snapshot, ENDPOINTS) == ["web"]
    (table,) = map(unpack, snapshot[ROUTE])
    assert [list(host.domains) for host in table.virtual_hosts] == [["shop.test"], ["*"]]
    assert zone.renderer.needed == {"web"}


def test_another_service_or_intention_leaves_the_listener_as_it_is() -> None:
    zone = zone_of_two()
    zone.say(entries(Exposed("web", ("shop.test",))))
    before = zone.renderer.connect(1, NEED)
    after = zone.say(entries(Exposed("web", ("shop.test",)), Exposed("api", ("api.test",))))[1]
    assert after[LISTENER] is before[LISTENER]
    assert names(after, CLUSTER) == ["api", "web"]
    denied = zone.say(IntentionsChanged.of([Intention("edge", "api", Action.ALLOW)]))[1]
    assert denied[LISTENER] is before[LISTENER]
    # Of what it may not call it is told nothing.
    assert names(denied, CLUSTER) == ["api"]
    (table,) = map(unpack, denied[ROUTE])
    (refused, _) = next(one for one in table.virtual_hosts if one.name == "shop.test").routes
    assert refused.direct_response.status == 403
    assert "mesh intention allow edge web" in refused.direct_response.body.inline_string


def test_a_policy_takes_the_entrys_services_where_it_names_none() -> None:
    zone = zone_of_two()
    zone.renderer.connect(1, NEED)
    certificate = {"vaultKv": {"path": "shop/tls"}}
    tls = {"certificates": [certificate]}
    listener = {"port": 8080, "protocol": "HTTPS", "tls": tls}
    after = zone.say(entries(Exposed("web", ("shop.test",))), policy([listener]))[1]
    assert names(after, CLUSTER) == ["web"]
    (chain,) = unpack(after[LISTENER][0]).filter_chains
    assert chain.name == "vault://secret/shop/tls?keep=kv"
    other = zone.say(policy([{**listener, "routes": [{"service": "api"}]}]))[1]
    assert names(other, CLUSTER) == ["api"]


def test_what_shall_be_encrypted_is_closed_without_a_certificate() -> None:
    zone = zone_of_two()
    secure = EdgeListener(8080, EdgeProtocol.HTTPS, (Exposed("web"),))
    edges = {"edge": Edge("edge", (secure,))}
    zone.say(ConfigEntriesChanged(Entries(service_defaults=HTTP, edges=edges), {}))
    assert names(zone.renderer.connect(1, NEED), LISTENER) == ["inbound"]


def test_nothing_is_held_for_a_gateway_that_left() -> None:
    zone = zone_of_two()
    zone.say(entries(Exposed("web"), Exposed("api", ("api.test",))))
    zone.renderer.connect(1, NEED)
    zone.renderer.disconnect(1)
    assert zone.renderer.is_empty
