"""What is wrong with what edge gateways shall serve, as `mesh check` and `mesh apply` tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.model.edge import Edge, EdgeListener, EdgeProtocol, Exposed
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.services import Protocol
from mesh.policies.document import Document, parse
from mesh.policies.registry import KINDS
from mesh.routing.edge_findings import of_document, standing
from mesh.world.snapshot import World

TLS = {"certificates": [{"vaultKv": {"path": "shop/tls"}}]}
WEB = Exposed("web")
CANNOT_CARRY = "cannot carry: set Protocol in its service-defaults"


def listener(protocol: str, *services: str, port: int = 8080, **more: Any) -> dict[str, Any]:
    routes = [{"service": name} for name in services]
    return {"port": port, "protocol": protocol, "routes": routes, **more}


def document(*listeners: dict[str, Any], name: str = "g", service: str = "edge") -> Document:
    target = {"kind": "Dataplane", "labels": {"service": service}} if service else {"kind": "Mesh"}
    spec = {"targetRef": target, "listeners": list(listeners)}
    return parse({"type": "MeshGateway", "name": name, "spec": spec}, KINDS)


def entry(*listeners: EdgeListener) -> dict[str, Edge]:
    return {"edge": Edge("edge", listeners)}


def world(*documents: Document, edges: dict[str, Edge] | None = None) -> World:
    """Return a world in which ``web`` speaks HTTP and ``store`` TCP."""
    defaults = {"web": ServiceDefaults("web", Protocol.HTTP)}
    return World(
        "west",
        "mesh.test",
        catalog=frozenset({"web", "store", "edge"}),
        entries=Entries(service_defaults=defaults, edges=edges or {}),
        policies={one.key: one for one in documents},
    )


def told(found: World) -> list[tuple[str, str, str]]:
    return [(label, wrong.path, wrong.message) for label, wrong in standing(found)]


def told_of(found: World, of: Document, *, zone_known: bool = True) -> list[str]:
    findings = list(of_document(found, of, zone_known=zone_known))
    assert {label for label, _ in findings} <= {of.label}
    return [wrong.message for _, wrong in findings]


def test_what_can_be_served_is_not_told_of() -> None:
    served = document(
        listener("HTTP", "web"),
        listener("HTTPS", "web", port=8443, tls=TLS),
        listener("TCP", "store", port=9000),
        listener("TLS", "store", port=9443),
        listener("HTTP", port=8081, redirectToPort=8443),
    )
    assert told(world(served)) == []
    assert told_of(world(served), served) == []


@pytest.mark.parametrize("protocol", ["HTTP", "TCP", "TLS"])
def test_a_listener_without_services_serves_nothing(protocol: str) -> None:
    empty = document(listener(protocol))
    (found,) = told(world(empty))
    message = "serves nothing: give routes, or services in an ingress-gateway entry"
    assert found == ("MeshGateway g", "listener 8080", message)


def test_an_entry_of_the_same_port_gives_the_services() -> None:
    silent = document(listener("HTTP"))
    same = world(silent, edges=entry(EdgeListener(8080, EdgeProtocol.HTTP, (WEB,))))
    assert not any("serves nothing" in message for _, _, message in told(same))
    other = world(silent, edges=entry(EdgeListener(8081, EdgeProtocol.HTTP, (WEB,))))
    assert [message for _, _, message in told(other) if "serves nothing" in message]
    # What serves connections is no answer to what requests are sent to.
    plain = world(silent, edges=entry(EdgeListener(8080, EdgeProtocol.TCP, (Exposed("store"),))))
    assert [message for _, _, message in told(plain) if "serves nothing" in message]


def test_an_entry_that_a_policy_overrides_is_told_of() -> None:
    listeners = (
        EdgeListener(8080, EdgeProtocol.HTTP, (WEB,)),
        EdgeListener(8081, EdgeProtocol.HTTP, (WEB,)),
    )
    found = told(world(document(listener("HTTP", "web")), edges=entry(*listeners)))
    message = "gives way to MeshGateway g, which speaks of the same port"
    assert found == [("ingress-gateway edge", "listener 8080", message)]


@pytest.mark.parametrize(
    ("protocol", "service", "speaks"),
    [
        ("HTTP", "store", "tcp"),
        ("HTTPS", "store", "tcp"),
        ("TCP", "web", "http"),
        ("TLS", "web", "http"),
    ],
)
def test_a_listener_carries_what_its_services_speak(
    protocol: str, service: str, speaks: str
) -> None:
    more: dict[str, Any] = {"tls": TLS} if protocol == "HTTPS" else {}
    wrong = document(listener(protocol, service, **more))
    message = (
        f"{service} speaks {speaks}, which a listener of protocol {protocol.lower()} {CANNOT_CARRY}"
    )
    assert told(world(wrong)) == [("MeshGateway g", "listener 8080", message)]
    assert told_of(world(wrong), wrong) == [message]


@pytest.mark.parametrize(("match", "protocol"), [("tcp", "HTTP"), ("http", "TCP")])
def test_an_external_service_speaks_what_its_policy_says(match: str, protocol: str) -> None:
    endpoints = [{"address": "pay.example", "port": 443}]
    spec = {"match": {"protocol": match}, "endpoints": endpoints}
    outside = parse({"type": "MeshExternalService", "name": "pay", "spec": spec}, KINDS)
    gate = document(listener(protocol, "pay"))
    message = f"pay speaks {match}, which a listener of protocol {protocol.lower()} {CANNOT_CARRY}"
    assert [wrong for _, _, wrong in told(world(outside, gate))] == [message]


def test_a_service_that_nobody_knows_is_told_of_once_the_catalog_is_known() -> None:
    gate = document(listener("HTTP", "nobody"))
    assert told_of(world(gate), gate) == ["there is no service nobody"]
    unread = replace(world(gate), catalog=frozenset())
    assert not any("there is no service" in one for one in told_of(unread, gate))


def test_two_that_say_what_the_same_gateways_serve_are_told_of() -> None:
    both = (listener("HTTP", "web"), listener("HTTP", "web", port=8081))
    first = document(*both, listener("HTTP", "web", port=1))
    second = document(*both, listener("HTTP", "web", port=2), name="h")
    found = world(first, second)
    message = "MeshGateway g says what the same gateways serve on port 8080, 8081"
    # Nobody need ask the zone: the documents say it.
    for zone_known in (False, True):
        assert told_of(found, second, zone_known=zone_known) == [message]
        assert told_of(found, first, zone_known=zone_known) == []


def test_two_of_other_ports_or_other_gateways_go_together() -> None:
    first = document(listener("HTTP", "web"))
    for second in (
        document(listener("HTTP", "web", port=8081), name="h"),
        document(listener("HTTP", "web"), name="h", service="other"),
    ):
        found = world(first, second)
        assert told_of(found, first) == []
        assert told_of(found, second) == []


def test_without_the_zone_nothing_is_said_of_services() -> None:
    gate = document(listener("HTTP", "nobody"))
    assert told_of(world(gate), gate, zone_known=False) == []


def test_a_document_for_every_gateway_is_held_against_each_entry() -> None:
    everywhere = document(listener("HTTP"), service="")
    bare = world(everywhere)
    assert told_of(bare, everywhere) == [
        "serves nothing: give routes, or services in an ingress-gateway entry"
    ]
    served = world(everywhere, edges=entry(EdgeListener(8080, EdgeProtocol.HTTP, (WEB,))))
    assert told_of(served, everywhere) == []


def test_a_listener_with_tls_and_no_certificate_is_told_of() -> None:
    secure = EdgeListener(8080, EdgeProtocol.HTTPS, (WEB,))
    (found,) = told(world(edges=entry(secure)))
    assert found[:2] == ("ingress-gateway edge", "listener 8080")
    assert "say in a MeshGateway where in Vault it is" in found[2]


def test_other_policies_are_none_of_the_gateways() -> None:
    spec = {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "1s"}}]}
    timeout = parse({"type": "MeshTimeout", "name": "t", "spec": spec}, KINDS)
    assert told(world(timeout)) == []
    assert told_of(world(timeout), timeout) == []
