"""``mesh apply``, ``get``, ``diff`` and ``delete`` against the embedded registry and Consul 1.8."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cli.conftest import Mesh, put
from tests.cli.documents import QUICK, ROUTE, SLOW
from tests.realconsul import BOOTSTRAP_TOKEN, RealConsul

TOKEN = {"CONSUL_HTTP_TOKEN": BOOTSTRAP_TOKEN}


@pytest.fixture(params=["embedded", "legacy"])
def consul(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a Consul without policies, and the variables that let in."""
    if request.param == "embedded":
        yield request.getfixturevalue("registry"), {}
        return
    legacy: RealConsul = request.getfixturevalue("legacy")
    yield legacy.url, TOKEN
    place = urlsplit(legacy.url)
    for path in ("/v1/kv/mesh/?recurse", "/v1/config/service-defaults/api"):
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
        connection.request("DELETE", path, headers={"X-Consul-Token": BOOTSTRAP_TOKEN})
        assert connection.getresponse().status == 200
        connection.close()


@pytest.fixture
def run(mesh: Mesh, consul: tuple[str, dict[str, str]]) -> Mesh:
    """The command, told where Consul is by variables."""
    url, env = consul
    return lambda *arguments, **more: mesh(*arguments, env={"CONSUL_HTTP_ADDR": url, **env}, **more)


def test_apply_creates_configures_and_leaves_alone(run: Mesh, files: Path) -> None:
    first = run("apply", "-f", str(files))
    assert first.output.splitlines() == [
        "MeshTimeout slow: created (v1)",
        "MeshTimeout quick: created (v1)",
    ]
    (files / "both.yaml").write_text(f"{SLOW.replace('5s', '6s')}---\n{QUICK}")
    assert run("apply", "-f", str(files)).output.splitlines() == [
        "MeshTimeout slow: configured (v1→v2)",
        "MeshTimeout quick: unchanged (v1)",
    ]
    again = json.loads(run("apply", "-f", str(files), "-o", "json").output)
    assert again[0] == {
        "type": "MeshTimeout",
        "name": "slow",
        "state": "unchanged",
        "version": 2,
        "before": 2,
    }


def test_one_invalid_document_keeps_all_from_being_applied(run: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    bad = SLOW.replace("idleTimeout: 5s", "idleTimeout: soon, odd: 1")
    file.write_text(f"{QUICK}---\n{bad}")
    result = run("apply", "-f", str(file))
    assert result.exit_code == 2
    place = f"{file}:8: MeshTimeout slow: spec.to[0].default"
    assert f"{place}.idleTimeout: 'soon' is not a duration" in result.output
    assert f"{place}.odd: unknown field" in result.output
    assert json.loads(run("get", "-o", "json").output) == []


def test_what_get_prints_can_be_applied(run: Mesh, files: Path) -> None:
    run("apply", "-f", str(files))
    printed = run("get", "-o", "yaml").output
    assert run("apply", "-f", "-", input=printed).output.splitlines() == [
        "MeshTimeout quick: unchanged (v1)",
        "MeshTimeout slow: unchanged (v1)",
    ]
    one = yaml.safe_load(run("get", "TIMEOUT", "slow", "-o", "yaml").output)
    assert list(one) == ["type", "name", "mesh", "spec"]
    assert one["spec"] == yaml.safe_load(SLOW)["spec"]
    assert json.loads(run("get", "meshtimeout", "slow", "-o", "json").output) == one


def test_get_shows_whom_a_policy_concerns(
    run: Mesh, files: Path, consul: tuple[str, dict[str, str]]
) -> None:
    assert "No policy stands." in run("get").output
    run("apply", "-f", str(files))
    lines = run("get", "timeout").output.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "PROXIES", "VERSION", "APPLIED", "AT", "BY", "FROM"]
    assert lines[1].split()[:4] == ["MeshTimeout", "quick", "all", "v1"]
    assert lines[2].split()[:4] == ["MeshTimeout", "slow", "service=web", "v1"]
    # The bootstrap token's accessor, where there are tokens.
    assert (lines[1].split()[-2] != "-") is bool(consul[1])


def test_versions_can_be_listed_and_brought_back(run: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    for idle in ("5s", "6s"):
        file.write_text(SLOW.replace("5s", idle))
        run("apply", "-f", str(file))
    run("delete", "timeout", "slow")
    listed = json.loads(run("get", "timeout", "slow", "--versions", "-o", "json").output)
    assert [each["version"] for each in listed] == [1, 2]
    assert listed[0]["document"]["spec"]["to"][0]["default"] == {"idleTimeout": "5s"}
    assert [
        line.split()[0]
        for line in run("get", "timeout", "slow", "--versions").output.split("\n")
        if line
    ] == ["VERSION", "v1", "v2"]
    old = run("get", "timeout", "slow", "--version", "1", "-o", "yaml").output
    assert "created (v3)" in run("apply", "-f", "-", input=old).output
    assert "5s" in run("get", "timeout", "slow", "-o", "yaml").output
    assert run("get", "timeout", "slow", "--version", "9").exit_code == 1
    assert run("get", "timeout", "fast", "--versions").exit_code == 1


def test_what_is_not_there_is_an_answer_of_no(run: Mesh) -> None:
    result = run("get", "timeout", "slow")
    assert (result.exit_code, "no such policy" in result.output) == (1, True)
    unknown = run("get", "sorcery")
    assert unknown.exit_code == 2
    assert "the kind 'sorcery' is not valid:" in unknown.output
    assert "MeshTimeout" in unknown.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "--versions"),
        ("get", "timeout", "slow", "--version", "1", "--versions"),
        ("delete",),
        ("delete", "timeout"),
        ("delete", "timeout", "slow", "-f", "x.yaml"),
        ("apply",),
        ("apply", "-f", "absent.yaml"),
    ],
)
def test_wrong_arguments_are_bad_input(mesh: Mesh, arguments: tuple[str, ...]) -> None:
    assert mesh(*arguments).exit_code == 2


def test_delete_by_name_and_by_file(run: Mesh, files: Path) -> None:
    run("apply", "-f", str(files))
    assert run("delete", "Timeout", "slow").output == "MeshTimeout slow: deleted\n"
    assert run("delete", "-f", str(files)).output.splitlines() == [
        "MeshTimeout slow: not there",
        "MeshTimeout quick: deleted",
    ]
    again = run("delete", "timeout", "slow", "-o", "json")
    assert (again.exit_code, json.loads(again.output)[0]["state"]) == (0, "not there")


def test_diff_exits_with_1_if_there_is_a_difference(run: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(SLOW)
    fresh = run("diff", "-f", str(file))
    assert fresh.exit_code == 1
    assert fresh.output.startswith(f"--- /dev/null\n+++ {file}:1 MeshTimeout slow\n@@ -0,0 +1,")
    run("apply", "-f", str(file))
    same = run("diff", "-f", str(file))
    assert (same.exit_code, same.output) == (0, "")
    file.write_text(SLOW.replace("5s", "6s"))
    changed = run("diff", "-f", str(file))
    assert changed.exit_code == 1
    assert changed.output.startswith("--- MeshTimeout slow v1\n")
    lines = changed.output.splitlines()
    assert [line.split() for line in lines if line[0] in "+-"][2:] == [
        ["-", "idleTimeout:", "5s"],
        ["+", "idleTimeout:", "6s"],
    ]
    file.write_text("type: MeshTimeout")
    assert run("diff", "-f", str(file)).exit_code == 2


def test_more_than_a_transaction_takes_is_refused(run: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text("---\n".join(QUICK.replace("quick", f"n{number}") for number in range(33)))
    result = run("apply", "-f", str(file))
    assert result.exit_code == 3
    assert "33 documents take 66 operations, and a transaction takes 64" in result.output
    assert "remedy: Apply fewer documents at a time" in result.output
    assert json.loads(run("get", "-o", "json").output) == []


def test_policies_must_fit_those_that_stand_and_the_entries(
    run: Mesh, consul: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    file, other = tmp_path / "p.yaml", tmp_path / "other.yaml"
    file.write_text(SLOW.replace("kind: MeshService, name: api", "kind: MeshHTTPRoute, name: v2"))
    refused = run("apply", "-f", str(file))
    assert refused.exit_code == 2
    assert f"{file}:1: MeshTimeout slow: spec.to[0].targetRef.name: there is no" in refused.output

    other.write_text(ROUTE)
    tcp = run("apply", "-f", str(other))
    assert (tcp.exit_code, "api speaks tcp" in tcp.output) == (2, True)
    url, env = consul
    defaults = {"Kind": "service-defaults", "Name": "api", "Protocol": "http"}
    put(url, "/v1/config", defaults, env.get("CONSUL_HTTP_TOKEN", ""))
    both = run("apply", "-f", str(file), "-f", str(other))
    assert both.exit_code == 0, both.output

    needed = run("delete", "httproute", "v2")
    assert needed.exit_code == 2
    assert "Consul: MeshTimeout slow: spec.to[0].targetRef.name: there is no" in needed.output
    # What came to be wrong later stands in nobody else's way.
    put(url, "/v1/config", {**defaults, "Protocol": "tcp"}, env.get("CONSUL_HTTP_TOKEN", ""))
    file.write_text(QUICK)
    assert run("apply", "-f", str(file)).exit_code == 0
    assert run("apply", "-f", str(other)).exit_code == 2


def test_what_no_release_understands_is_named_and_can_be_deleted(mesh: Mesh, registry: str) -> None:
    env = {"CONSUL_HTTP_ADDR": registry}
    document: dict[str, Any] = {"type": "MeshSorcery", "name": "x", "mesh": "default", "spec": 1}
    envelope = {"version": 4, "document": document, "applied_at": "2025-01-01T00:00:00Z"}
    put(registry, "/v1/kv/mesh/policies/default/MeshSorcery/x", envelope)
    put(registry, "/v1/kv/mesh/policies/default/MeshTimeout/y", envelope)
    result = mesh("get", env=env)
    assert "warning: key mesh/policies/default/MeshTimeout/y is not valid" in result.output
    assert "MeshSorcery" in result.output
    assert "deleted" in mesh("delete", "sorcery", "x", env=env).output
    assert "deleted" in mesh("delete", "timeout", "y", env=env).output
    assert "No policy stands." in mesh("get", env=env).output


def test_a_slip_in_the_name_of_a_kind_is_answered_with_what_was_meant(run: Mesh) -> None:
    result = run("get", "timout")
    assert result.exit_code == 2
    assert "did you mean MeshTimeout?" in result.output
