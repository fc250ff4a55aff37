"""``mesh intention`` and ``mesh explain`` against both dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Mesh, put
from tests.realconsul import BOOTSTRAP_TOKEN, RealConsul

TOKEN = {"CONSUL_HTTP_TOKEN": BOOTSTRAP_TOKEN}


@pytest.fixture(params=["embedded", "legacy"])
def consul(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[tuple[str, dict[str, str]]]:
    """The arguments and variables that reach a Consul of each dialect, without intentions."""
    if request.param == "embedded":
        yield request.getfixturevalue("registry"), {}
        return
    legacy: RealConsul = request.getfixturevalue("legacy")
    yield legacy.url, TOKEN
    listed = mesh("intention", "list", "-o", "json", "--consul", legacy.url, env=TOKEN)
    for each in json.loads(listed.output):
        mesh(
            *("intention", "delete", each["source"], each["destination"]),
            *("--consul", legacy.url),
            env=TOKEN,
        )


@pytest.fixture
def run(mesh: Mesh, consul: tuple[str, dict[str, str]]) -> Mesh:
    """The command, told where Consul is by variables."""
    url, env = consul
    return lambda *arguments: mesh(*arguments, env={"CONSUL_HTTP_ADDR": url, **env})


@pytest.fixture
def modern(mesh: Mesh, registry: str) -> Mesh:
    """The command against the 1.9 dialect, where api speaks http."""
    put(registry, "/v1/config", {"Kind": "service-defaults", "Name": "api", "Protocol": "http"})
    return lambda *arguments, **more: mesh(*arguments, env={"CONSUL_HTTP_ADDR": registry}, **more)


def test_allow_and_deny_decide_and_are_idempotent(run: Mesh) -> None:
    assert run("intention", "check", "web", "api").exit_code == 1
    assert "created" in run("intention", "allow", "web", "api", "--description", "why").output
    assert "unchanged" in run("intention", "allow", "web", "api").output
    assert run("intention", "check", "web", "api").exit_code == 0
    changed = run("intention", "deny", "web", "api", "-o", "json")
    document = json.loads(changed.output)
    assert document["state"] == "changed"
    assert document["description"] == "why"
    assert run("intention", "check", "web", "api").exit_code == 1


def test_wildcards_and_filters(run: Mesh) -> None:
    for source, destination in (("*", "api"), ("web", "*"), ("web", "db")):
        assert run("intention", "allow", source, destination).exit_code == 0
    listed = json.loads(run("intention", "list", "-o", "json").output)
    found = [(each["source"], each["destination"], each["precedence"]) for each in listed]
    assert found == [("web", "*", 6), ("*", "api", 8), ("web", "db", 9)]
    only = json.loads(run("intention", "list", "--source", "web", "-o", "json").output)
    assert [each["destination"] for each in only] == ["*", "db"]
    table = run("intention", "list", "--destination", "db").output
    assert "web     db" in table
    assert "denied" in table


def test_delete_says_whether_there_was_one(run: Mesh) -> None:
    run("intention", "allow", "web", "api")
    assert "deleted" in run("intention", "delete", "web", "api").output
    gone = run("intention", "delete", "web", "api")
    assert (gone.exit_code, "not there" in gone.output) == (0, True)


def test_explain_tells_the_rule_and_what_would_change_it(run: Mesh) -> None:
    run("intention", "deny", "*", "api")
    run("intention", "allow", "web", "api")
    result = run("explain", "web", "api", "-o", "json")
    document = json.loads(result.output)
    assert document["allowed"] is True
    assert document["decided_by"]["precedence"] == 9
    assert [each["source"] for each in document["overridden"]] == ["*"]
    assert any("mesh intention deny web api" in each for each in document["what_would_change"])
    text = run("explain", "db", "api").output
    assert text.startswith("db → api: DENIED")
    assert "mesh intention allow db api" in text


def test_a_document_replaces_all_of_its_destination(run: Mesh, tmp_path: Path) -> None:
    run("intention", "allow", "old", "api")
    file = tmp_path / "api.yaml"
    file.write_text(
        "Kind: service-intentions\nName: api\nSources:\n"
        "- {Name: web, Action: allow}\n- {Name: '*', Action: deny}\n"
    )
    assert "changed" in run("intention", "apply", "-f", str(file)).output
    assert "unchanged" in run("intention", "apply", "-f", str(file)).output
    listed = json.loads(run("intention", "list", "-o", "json").output)
    assert [each["source"] for each in listed] == ["web", "*"]


def test_invalid_names_are_refused_together(run: Mesh) -> None:
    result = run("intention", "allow", "we b", "a.pi", "--header", "=")
    assert result.exit_code == 2
    assert "--header: " in result.output
    assert "SRC: " in result.output
    assert "DST: " in result.output


def test_legacy_consul_refuses_permissions_with_the_version_they_need(
    mesh: Mesh, legacy: RealConsul, tmp_path: Path
) -> None:
    env = {"CONSUL_HTTP_ADDR": legacy.url, **TOKEN}
    result = mesh("intention", "allow", "web", "api", "--path-prefix", "/v1", env=env)
    assert result.exit_code == 3
    assert "needs Consul 1.9" in result.output
    file = tmp_path / "two.json"
    file.write_text(
        json.dumps(
            [
                {
                    "Kind": "service-intentions",
                    "Name": "first",
                    "Sources": [{"Name": "web", "Action": "allow"}],
                },
                {
                    "Kind": "service-intentions",
                    "Name": "second",
                    "Sources": [
                        {
                            "Name": "web",
                            "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}],
                        }
                    ],
                },
            ]
        )
    )
    result = mesh("intention", "apply", "-f", str(file), env=env)
    assert result.exit_code == 3
    # The first is not written either.
    assert json.loads(mesh("intention", "list", "-o", "json", env=env).output) == []


def test_permissions_are_added_and_judged(modern: Mesh) -> None:
    modern("intention", "allow", "web", "api", "--method", "GET", "--path-prefix", "/v1")
    modern("intention", "deny", "web", "api", "--header", "x-role=guest", "--first")
    request = ("web", "api", "--method", "GET", "--path", "/v1/x")
    assert modern("intention", "check", *request).exit_code == 0
    assert modern("intention", "check", *request, "--header", "x-role=guest").exit_code == 1
    assert modern("intention", "check", "web", "api", "--path", "/").exit_code == 1
    conditional = modern("intention", "check", "web", "api")
    assert conditional.exit_code == 1
    assert "depends on the request" in conditional.output
    text = modern("explain", *request, "--header", "x-role=guest").output
    assert "> 1. deny x-role=guest" in text
    again = modern("intention", "allow", "web", "api", "--method", "GET", "--path-prefix", "/v1")
    assert "unchanged" in again.output


def test_what_is_listed_can_be_written_again(modern: Mesh) -> None:
    modern("intention", "allow", "web", "api", "--path-prefix", "/v1", "--jwt", "okta:a.b=c")
    (listed,) = json.loads(modern("intention", "list", "-o", "json").output)
    assert listed["rules"] == ["allow /v1* jwt okta:a.b=c"]
    source = {"Name": listed["source"], "Permissions": listed["permissions"]}
    entry = {"Kind": "service-intentions", "Name": listed["destination"], "Sources": [source]}
    assert "unchanged" in modern("intention", "apply", "-f", "-", input=json.dumps(entry)).output


def test_permissions_on_tcp_warn(modern: Mesh) -> None:
    result = modern("intention", "allow", "web", "db", "--path-exact", "/")
    assert result.exit_code == 0
    assert "denies everything until Protocol = http" in result.stderr


def test_permissions_for_everybody_are_refused(modern: Mesh) -> None:
    result = modern("intention", "allow", "web", "*", "--path-exact", "/")
    assert result.exit_code == 2
    assert "cannot be given for the destination '*'" in result.output


def test_a_bad_regex_is_refused_before_writing(modern: Mesh) -> None:
    result = modern("intention", "allow", "web", "api", "--path-regex", "(")
    assert result.exit_code == 2
    assert "PathRegex" in result.output
    assert json.loads(modern("intention", "list", "-o", "json").output) == []


def test_every_violation_of_every_document_is_named(modern: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "Kind: service-intentions\nName: api\nSources: [{Name: web, Actoin: allow}]\n"
        "---\nKind: service-defaults\nName: db\n"
        "---\nKind: service-intentions\nName: c\n"
    )
    result = modern("intention", "apply", "-f", str(file))
    assert result.exit_code == 2
    for expected in ("[0].Sources[0].Actoin: unknown field", "[1].Kind", "[2].Sources"):
        assert expected in result.output


def test_a_document_comes_from_stdin(modern: Mesh) -> None:
    entry = {
        "Kind": "service-intentions",
        "Name": "api",
        "Sources": [
            {"Name": "web", "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/"}}]}
        ],
    }
    result = modern("intention", "apply", "-f", "-", input=json.dumps(entry))
    assert "created" in result.output
    assert modern("intention", "check", "web", "api", "--path", "/").exit_code == 0


def test_what_is_malformed_is_named_beside_the_verdict(mesh: Mesh, registry: str) -> None:
    put(
        registry,
        "/v1/config",
        {
            "Kind": "service-intentions",
            "Name": "a.pi",
            "Sources": [{"Name": "web", "Action": "allow"}],
        },
    )
    result = mesh("explain", "web", "db", env={"CONSUL_HTTP_ADDR": registry})
    assert result.exit_code == 0
    assert "warning: service-intentions a.pi is malformed" in result.stderr


def test_a_token_file_is_read(mesh: Mesh, legacy: RealConsul, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{legacy.token}\n")
    arguments = ("intention", "list", "--consul", legacy.url, "--consul-token-file", str(file))
    assert mesh(*arguments).exit_code == 0
    file.write_text("")
    refused = mesh(*arguments)
    assert refused.exit_code == 2
    assert "is empty" in refused.output
