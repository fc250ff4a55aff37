"""``mesh services`` against the embedded registry and a real Consul."""

from __future__ import annotations

import json

from tests.cli.conftest import Mesh, put
from tests.realconsul import RealConsul

SIDECAR = {
    "Name": "web-sidecar-proxy",
    "Kind": "connect-proxy",
    "Port": 21000,
    "Proxy": {"DestinationServiceName": "web", "DestinationServiceID": "web-1"},
}


def register(url: str, token: str = "") -> None:
    path = "/v1/agent/service/register"
    put(url, path, {"Name": "web", "ID": "web-1", "Port": 80}, token)
    put(
        url,
        path,
        {
            "Name": "web",
            "ID": "web-2",
            "Port": 81,
            "Check": {"TTL": "1h", "Status": "critical"},
        },
        token,
    )
    put(url, path, SIDECAR, token)
    put(url, "/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}, token)


EXPECTED = {
    "name": "web",
    "protocol": "http",
    "instances": {"healthy": 1, "total": 2},
    "proxies": {"healthy": 1, "total": 1},
    "intentions": 0,
}


def test_instances_and_sidecars_are_counted(mesh: Mesh, registry: str) -> None:
    env = {"CONSUL_HTTP_ADDR": registry.removeprefix("http://")}
    assert "No service is registered" in mesh("services", env=env).output
    register(registry)
    assert json.loads(mesh("services", "-o", "json", env=env).output) == [EXPECTED]
    mesh("intention", "deny", "*", "*", env=env)
    table = mesh("services", env=env).output.splitlines()
    assert table[0].split() == ["NAME", "PROTOCOL", "HEALTHY", "IN", "MESH", "INTENTIONS"]
    assert table[1].split() == ["web", "http", "1/2", "1/1", "1"]


def test_a_real_consul_is_counted_alike(mesh: Mesh, legacy: RealConsul) -> None:
    register(legacy.url, legacy.token)
    env = {"CONSUL_HTTP_ADDR": legacy.url, "CONSUL_HTTP_TOKEN": legacy.token}
    listed = json.loads(mesh("services", "-o", "json", env=env).output)
    assert [each for each in listed if each["name"] == "web"] == [EXPECTED]
