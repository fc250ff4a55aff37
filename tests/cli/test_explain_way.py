"""``mesh explain``: the whole way of a call, computed from what Consul holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.checks import consul_routes, zone_problems
from mesh.cli.checks.model import Level
from mesh.model.violations import Violation
from tests.cli.conftest import Mesh, put

ROUTE = """\
type: MeshHTTPRoute
name: new
spec:
  targetRef: {kind: Dataplane, labels: {version: v1}}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /new}}]
          default: {backendRefs: [{kind: MeshService, name: spare}]}
---
type: MeshTimeout
name: slow
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      default: {http: {requestTimeout: 7s}}
---
type: MeshTimeout
name: all
spec:
  to:
    - targetRef: {kind: Mesh}
      default: {http: {requestTimeout: 9s}}
"""


def register(url: str, service: str, number: int, port: int, **meta: str) -> None:
    """Register an instance and its sidecar."""
    sidecar = {
        "ID": f"{service}-{number}-sidecar-proxy",
        "Name": f"{service}-sidecar-proxy",
        "Kind": "connect-proxy",
        "Address": "127.0.0.1",
        "Port": port,
        "Meta": meta,
        "Proxy": {"DestinationServiceName": service, "DestinationServiceID": service},
    }
    app = {"ID": f"{service}-{number}", "Name": service, "Port": port + 1, "Meta": meta}
    put(url, "/v1/agent/service/register", app)
    put(url, "/v1/agent/service/register", sidecar)


@pytest.fixture
def run(mesh: Mesh, registry: str, tmp_path: Path) -> Mesh:
    """The command, on a registry with ``web``, ``api`` in two versions, and ``spare``."""
    for service in ("api", "spare"):
        put(registry, "/v1/config", {"Kind": "service-defaults", "Name": service, **HTTP})
    subsets = {name: {"Filter": f"Service.Meta.version == {name}"} for name in ("v1", "v2")}
    put(registry, "/v1/config", {"Kind": "service-resolver", "Name": "api", "Subsets": subsets})
    shares = [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}]
    put(registry, "/v1/config", {"Kind": "service-splitter", "Name": "api", "Splits": shares})
    register(registry, "web", 1, 20_000, version="v1")
    register(registry, "web", 2, 20_010, version="v2")
    register(registry, "api", 1, 20_100, version="v1", locality="here")
    register(registry, "api", 2, 20_110, version="v2")
    register(registry, "spare", 1, 20_200)
    env = {"CONSUL_HTTP_ADDR": registry}

    def command(*arguments: str) -> Any:
        return mesh(*arguments, env=env)

    file = tmp_path / "policies.yaml"
    file.write_text(ROUTE)
    assert command("apply", "-f", str(file)).exit_code == 0
    for service in ("api", "spare"):
        assert command("intention", "allow", "web", service).exit_code == 0
    return command


HTTP = {"Protocol": "http"}


def explained(run: Mesh, *arguments: str) -> Any:
    result = run("explain", "web", "api", *arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_split_with_its_subsets_and_instances(run: Mesh) -> None:
    found = explained(run, "--path", "/old")
    way = found["way"]
    assert [(each["target"], each["percent"]) for each in way["targets"]] == [
        ("v1.api", 90),
        ("v2.api", 10),
    ]
    first = way["targets"][0]
    assert {each["id"]: each["standing"] for each in first["endpoints"]} == {
        "api-1": "used",
        "api-2": "not in the subset",
    }
    assert first["allowed"] is True
    assert way["route"]["document"] == "service-splitter api"
    assert way["route"]["timeouts"] == {"request": 7.0}
    origin = way["route"]["origins"]["MeshTimeout.http.requestTimeout"]
    assert origin == "MeshTimeout slow"
    losers = [(each["field"], each["document"]) for each in way["overruled"]]
    assert ("MeshTimeout.http.requestTimeout", "MeshTimeout all") in losers


def test_the_policies_are_those_of_the_proxy_that_calls(run: Mesh) -> None:
    found = explained(run, "--path", "/new/x")
    assert (found["proxy"], found["proxies_that_may_differ"]) == ("web-1", ["web-2"])
    assert [each["target"] for each in found["way"]["targets"]] == ["spare"]
    other = explained(run, "--path", "/new/x", "--source-proxy", "web-2")
    assert [each["target"] for each in other["way"]["targets"]] == ["v1.api", "v2.api"]
    wrong = run("explain", "web", "api", "--source-proxy", "web-9")
    assert wrong.exit_code == 2
    assert "those known are: web-1, web-2" in wrong.output


def test_it_reads_as_a_way(run: Mesh) -> None:
    text = run("explain", "web", "api", "--path", "/new/x").output
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "web → api /new/x: ALLOWED"
    assert "The way of GET /new/x, from proxy web-1:" in lines
    assert "Other policies concern web-2: see --source-proxy." in lines
    assert "> 1. path segments /new: spare 100%  (MeshHTTPRoute new)" in lines
    assert "2. everything: v1.api 90%, v2.api 10%  (service-splitter api)" in lines
    assert "→ spare 100% (http)" in lines
    assert any(line.startswith("> spare-1 127.0.0.1:20200 ") for line in lines)


def test_a_call_that_is_not_allowed_says_who_refuses_it(run: Mesh) -> None:
    assert run("intention", "deny", "web", "spare").exit_code == 0
    (end,) = explained(run, "--path", "/new")["way"]["targets"]
    assert (end["allowed"], end["refused_by"]) == (False, "the caller's proxy")


def test_entries_by_which_calls_cannot_be_routed_are_named() -> None:
    found = consul_routes.judge("service-splitter api", Violation("Splits[0]", "is odd"))
    assert found.level is Level.FAILURE
    assert found.text == "calls cannot be routed by service-splitter api: Splits[0]: is odd"
    assert "consul config read -kind service-splitter -name api" in found.remedy


def test_what_the_zone_cannot_use_is_told_with_what_stands() -> None:
    problem = {
        "kind": "service-router",
        "name": "api",
        "message": "",
        "violations": [{"path": "Routes[0]", "message": "is odd"}],
        "standing": "calls go on as they last could be routed",
        "services": ["api", "front"],
    }
    (found,) = zone_problems.judge([problem])
    assert found.text.splitlines() == [
        "service-router api: calls to api, front; calls go on as they last could be routed:",
        "Routes[0]: is odd",
    ]
    (fine,) = zone_problems.judge([])
    assert fine.level is Level.OK


def test_the_check_names_the_entry(run: Mesh, registry: str) -> None:
    result = run("check", "-o", "json")
    sections = {each["name"]: each["checks"] for each in json.loads(result.stdout)["sections"]}
    found = {each["check"]: each for each in sections["Consul"]}
    assert found["routes of configuration entries"]["level"] == "ok"
