"""Ingress gateways: what each field becomes, and everything wrong at once."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.edge import EdgeListener, EdgeProtocol, Exposed
from mesh.model.requests import HeaderEdits
from mesh.model.violations import InvalidInputError
from mesh.sources.consul.entries import parse_ingress


def entry(*listeners: Any, **fields: Any) -> dict[str, Any]:
    return {"Kind": "ingress-gateway", "Name": "edge", "Listeners": list(listeners), **fields}


def wrong(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        parse_ingress(raw)
    return [str(each) for each in caught.value.violations]


def test_what_each_field_becomes() -> None:
    services = [
        {"Name": "web", "Hosts": ["Shop.Example.com", "*.web.test"]},
        {"Name": "api", "RequestHeaders": {"Set": {"x-a": "1"}}},
    ]
    found = parse_ingress(
        entry(
            {"Port": 8080, "Protocol": "http", "Services": services},
            {"Port": 5432, "Services": [{"Name": "db"}]},
            TLS={"Enabled": False},
        )
    )
    edits = HeaderEdits(set=(("x-a", "1"),))
    assert found.name == "edge"
    assert found.listeners == (
        EdgeListener(
            8080,
            EdgeProtocol.HTTP,
            (
                Exposed("web", ("shop.example.com", "*.web.test")),
                Exposed("api", ("api.ingress.*",), request_headers=edits),
            ),
        ),
        EdgeListener(5432, EdgeProtocol.TCP, (Exposed("db"),)),
    )


def test_as_consul_stores_an_entry_without_listeners() -> None:
    assert (
        parse_ingress({"Kind": "ingress-gateway", "Name": "edge", "Listeners": None}).listeners
        == ()
    )


@pytest.mark.parametrize("own", [None, False, True])
def test_a_listeners_own_tls_holds_over_the_entrys(own: bool | None) -> None:  # noqa: FBT001
    listener: dict[str, Any] = {"Port": 1, "Protocol": "http", "Services": [{"Name": "web"}]}
    if own is not None:
        listener["TLS"] = {"Enabled": own}
    (found,) = parse_ingress(entry(listener, TLS={"Enabled": True})).listeners
    assert found.protocol is (EdgeProtocol.HTTP if own is False else EdgeProtocol.HTTPS)
    assert found.tls is None


def test_everything_wrong_at_once() -> None:
    found = wrong(
        entry(
            {"Port": 0, "Protocol": "udp", "Services": [{"Name": "a"}, {"Name": "b"}]},
            {
                "Port": 80,
                "Protocol": "http",
                "Services": [
                    {"Name": "*", "Hosts": ["x.com"]},
                    {"Name": "web", "Hosts": ["b.*"], "MaxConnections": 3},
                    {"Name": "web", "Hosts": ["x.com"]},
                ],
            },
            {"Port": 80, "Services": [{"Name": "*", "Hosts": ["y.com"]}]},
            {"Port": 81, "Services": []},
            TLS={"SDS": {"ClusterName": "x"}, "Enabled": "yes"},
            Defaults={"MaxConnections": 3},
            Sorcery=1,
        )
    )
    text = "\n".join(found)
    for expected in (
        "TLS.Enabled",
        "TLS.SDS: is said by a MeshGateway",
        "Defaults.MaxConnections: is said by a MeshCircuitBreaker",
        "Listeners[0].Port: expected a port",
        "Listeners[0].Protocol: 'udp' is not one of",
        "Listeners[0].Services: a tcp listener takes one service",
        "Listeners[1].Services[0].Hosts: every service has a host of its own",
        "Listeners[1].Services[1].Hosts[0]: 'b.*' is no host",
        "Listeners[1].Services[1].MaxConnections: is said by a MeshCircuitBreaker",
        "Listeners[1].Services[2].Name: web is named twice",
        "Listeners[1].Services: x.com is a host of two of them",
        "Listeners[2].Port: 80 is declared on two listeners",
        "Listeners[2].Services[0].Hosts: a tcp listener takes one service, by name",
        "Listeners[3].Services: is required",
        "Sorcery: unknown field",
    ):
        assert expected in text, (expected, text)


def test_any_host_needs_no_names_and_tls_does() -> None:
    listener = {"Port": 1, "Protocol": "http", "Services": [{"Name": "web", "Hosts": ["*"]}]}
    assert parse_ingress(entry(listener)).listeners[0].services[0].hosts == ("*",)
    assert "'*' cannot be with TLS" in wrong(entry(listener, TLS={"Enabled": True}))[0]
