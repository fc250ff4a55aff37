"""``terminating-gateway`` entries, as the zone reads them and as real Consul 1.8.7 takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient, Refused
from mesh.model.entries import LinkedService
from mesh.model.names import OUTSIDE, ZONE_EGRESS
from mesh.model.violations import InvalidInputError
from mesh.sources.consul.entries import parse_terminating_gateway
from mesh.sources.consul.instances import parse_instances
from tests.realconsul import RealConsul

WHOLE = {
    "Name": "legacy",
    "CAFile": "/etc/mesh/egress/ca.pem",
    "CertFile": "tls/client.pem",
    "KeyFile": "tls/client.key",
    "SNI": "legacy.example",
}


def entry(*services: dict[str, Any], name: str = ZONE_EGRESS) -> dict[str, Any]:
    return {"Kind": "terminating-gateway", "Name": name, "Services": list(services)}


def test_services_with_files_and_without() -> None:
    assert parse_terminating_gateway(entry(WHOLE, {"Name": "ledger"})) == {
        "legacy": LinkedService(
            "legacy", "ca.pem", "tls/client.pem", "tls/client.key", "legacy.example"
        ),
        "ledger": LinkedService("ledger"),
    }


def test_a_gateway_of_consuls_own_is_left_alone() -> None:
    assert parse_terminating_gateway(entry({"Name": "*"}, name="terminating")) == {}


@pytest.mark.parametrize(
    "file",
    [
        "/etc/shadow",
        "../ca.pem",
        "a/../../b",
        "/etc/mesh/egress/../x",
        ".hidden",
        "a:b",
        "a//b",
        "/",
    ],
)
def test_a_file_elsewhere_is_refused(file: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_terminating_gateway(entry({"Name": "legacy", "CAFile": file}))
    (violation,) = caught.value.violations
    assert violation.path == "Services[0].CAFile"
    assert "is no file below /etc/mesh/egress/" in violation.message


def test_all_that_is_wrong_is_told_at_once() -> None:
    services = (
        {"Name": "*"},
        {"Name": "a", "CertFile": "a.pem"},
        {"Name": "a"},
        {"Name": "b", "SNI": "b.example", "Else": 1},
    )
    with pytest.raises(InvalidInputError) as caught:
        parse_terminating_gateway(entry(*services))
    assert {violation.path for violation in caught.value.violations} == {
        "Services[0].Name",
        "Services[1].CertFile",
        "Services[2].Name",
        "Services[3].Else",
        "Services[3].SNI",
    }


async def test_consul_takes_them_and_lists_native_gateways(tmp_path: Path) -> None:
    async with (
        RealConsul(tmp_path) as server,
        ConsulClient(ConsulAddress(url=server.url)) as consul,
    ):
        await consul.config_put(entry(WHOLE))
        held = (await consul.config_list("terminating-gateway")).value
        assert parse_terminating_gateway(held[0]) == parse_terminating_gateway(entry(WHOLE))
        with pytest.raises(Refused):
            await consul.config_put(entry({"Name": "a", "CertFile": "a.pem"}))
        await consul.catalog_register(
            {"Node": "out", "Address": "x.example", "Service": {"Service": "legacy", "Port": 443}}
        )
        gateway = {"Service": ZONE_EGRESS, "Kind": "terminating-gateway", "Port": 10002}
        await consul.catalog_register(
            {
                "Node": "gw",
                "Address": "127.0.0.1",
                "Service": {**gateway, "Connect": {"Native": True}},
            }
        )
        (listed,) = (await consul.health_connect(ZONE_EGRESS)).value
        assert listed.service.kind == "terminating-gateway"
        answer = (await consul.health_service("legacy")).value
        (found,), problems = parse_instances(f"{OUTSIDE}legacy", answer, named=True)
        assert (found.address, found.port, problems) == ("x.example", 443, ())
        # A sidecar is never dialled by name.
        assert parse_instances("legacy", answer)[0] == ()
