"""``mesh check``: each check's judgement, and the whole against real servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mesh.ca.vault_layout import Mode
from mesh.cli.checks import clock_skew, consul_rights, consul_version, report, runner, vault_policy
from mesh.cli.checks.model import Checked, Finding, Level, Section, failure, ok, warning
from mesh.model.violations import InvalidInputError, Violation
from tests.cli.conftest import Mesh, put
from tests.realconsul import RealConsul
from tests.realvault import RealVault

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def findings(output: str, section: str) -> dict[str, dict[str, str]]:
    document = json.loads(output)
    found = next(each for each in document["sections"] if each["name"] == section)
    return {each["check"]: each for each in found["checks"]}


class Says:
    """A check that finds what it is told."""

    def __init__(self, title: str, found: Sequence[Finding], *, vital: bool = False) -> None:
        """Find ``found``."""
        self.title = title
        self.vital = vital
        self._found = found

    async def run(self) -> Sequence[Finding]:
        """Say it."""
        return self._found


class Breaks(Says):
    """A check whose server refuses."""

    async def run(self) -> Sequence[Finding]:
        """Refuse."""
        raise InvalidInputError("the file", (Violation("", "is empty"),))


async def test_a_section_ends_where_its_ground_is_missing() -> None:
    sections = [
        Section("a", (Breaks("ground", [], vital=True), Says("later", [ok("fine")]))),
        Section("b", (Says("other", [ok("fine")]),)),
    ]
    first, second = await runner.run(sections)
    assert [title for title, _ in first.findings] == ["ground"]
    assert "Not checked: later" in first.findings[0][1].remedy
    assert first.failed
    assert not second.failed


def test_the_table_shows_marks_and_remedies_and_short_leaves_out_what_is_well() -> None:
    checked = [
        Checked("One", [("x", ok("fine")), ("y", warning("hm\nmore", "look"))]),
        Checked("Two", [("z", ok("fine too"))]),
    ]
    assert report.lines(checked, short=False) == [
        "One",
        "---",
        "√ fine",
        "‼ hm",
        "    more",
        "  → look",
        "",
        "Two",
        "---",
        "√ fine too",
        "",
        "All is well: 2 √, 1 ‼, 0 ×",
    ]
    assert "fine" not in "\n".join(report.lines(checked, short=True))
    assert "Two" not in report.lines(checked, short=True)


@pytest.mark.parametrize(
    ("skew", "level", "side"),
    [
        (0.0, Level.OK, "agrees"),
        (-0.9, Level.OK, "agrees"),
        (4.0, Level.OK, "agrees"),
        (30.0, Level.WARNING, "30 s behind"),
        (-32.0, Level.WARNING, "31 s ahead of"),
        (120.0, Level.FAILURE, "120 s behind"),
        (-120.0, Level.FAILURE, "ahead of"),
    ],
)
def test_clock_skew_allows_for_whole_seconds_and_the_way(
    skew: float, level: Level, side: str
) -> None:
    found = clock_skew.judge("Consul", NOW + timedelta(seconds=skew), NOW, NOW)
    assert found.level is level
    assert side in found.text


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("1.8.7", Level.OK),
        ("1.18.0+ent", Level.OK),
        ("1.10.0-beta1", Level.OK),
        ("1.7.9", Level.FAILURE),
        ("0.9.4", Level.FAILURE),
        ("", Level.WARNING),
        ("unknown", Level.WARNING),
    ],
)
def test_versions_are_compared_as_numbers(version: str, level: Level) -> None:
    assert consul_version.judge(version, "dc1").level is level


def test_missing_rights_are_named_with_their_rule() -> None:
    allowed = [right.needed for right in consul_rights.RIGHTS]
    assert {each.level for each in consul_rights.judge(allowed)} == {Level.WARNING}
    found = consul_rights.judge([False] * len(allowed))
    assert [each.level for each in found].count(Level.FAILURE) == sum(allowed)
    assert 'service_prefix "" { policy = "read" }' in found[0].remedy


def test_vault_needs_update_on_what_the_mode_writes() -> None:
    paths = vault_policy.signing_paths("pki", Mode.VAULT_SIGN)
    assert len(paths) == 2
    assert vault_policy.judge(paths, dict.fromkeys(paths, ("update",)))[0].level is Level.OK
    assert vault_policy.judge(paths, dict.fromkeys(paths, ("root",)))[0].level is Level.OK
    found = vault_policy.judge(paths, {paths[0]: ["update"], paths[1]: ["deny"]})
    assert [each.level for each in found] == [Level.FAILURE]
    assert paths[1] in found[0].remedy


def test_a_real_consul_with_all_rights_is_well(mesh: Mesh, legacy: RealConsul) -> None:
    env = {"CONSUL_HTTP_ADDR": legacy.url, "CONSUL_HTTP_TOKEN": legacy.token}
    result = mesh("check", "-o", "json", env=env)
    assert result.exit_code == 0, result.output
    found = findings(result.output, "Consul")
    assert "1.8.7" in found["Consul's version"]["text"]
    assert found["dialect of intentions"]["level"] == "warning"
    assert found["rights of the token"]["level"] == "ok"
    assert found["default policy"]["level"] == "ok"
    assert found["clock of Consul"]["level"] == "ok"
    assert {each["level"] for each in findings(result.output, "This host").values()} == {"ok"}


def test_a_token_without_rights_is_no_success(mesh: Mesh, legacy: RealConsul) -> None:
    # The anonymous token: Consul answers 200 with empty lists.
    result = mesh("check", "-o", "json", env={"CONSUL_HTTP_ADDR": legacy.url})
    assert result.exit_code == 1
    rights = [
        each
        for section in json.loads(result.output)["sections"]
        for each in section["checks"]
        if each["check"] == "rights of the token"
    ]
    assert {each["level"] for each in rights} == {"failure", "warning"}
    assert any("see intentions" in each["text"] for each in rights)


def test_an_unknown_token_is_named(mesh: Mesh, legacy: RealConsul) -> None:
    env = {
        "CONSUL_HTTP_ADDR": legacy.url,
        "CONSUL_HTTP_TOKEN": "00000000-dead-beef-0000-000000000000",
    }
    result = mesh("check", "-o", "short", env=env)
    assert result.exit_code == 1
    assert "CONSUL_HTTP_TOKEN" in result.output


def test_the_culprit_among_entries_is_named_with_its_violations(mesh: Mesh, registry: str) -> None:
    entry: Mapping[str, Any] = {
        "Kind": "service-intentions",
        "Name": "a.pi",
        "Sources": [{"Name": "web", "Action": "allow"}],
    }
    put(registry, "/v1/config", entry)
    result = mesh("check", "-o", "short", env={"CONSUL_HTTP_ADDR": registry})
    assert result.exit_code == 1
    assert "× service-intentions a.pi is malformed" in result.output
    assert "cannot name a service" in result.output
    assert "consul config read -kind service-intentions -name a.pi" in result.output


def test_no_consul_stops_its_section_only(mesh: Mesh) -> None:
    result = mesh("check", env={"CONSUL_HTTP_ADDR": "http://127.0.0.1:1"})
    assert result.exit_code == 1
    assert "× Consul: no answer" in result.output
    assert "Not checked: Consul's version" in result.output
    assert "√ Envoy" in result.output


def test_a_zone_that_was_asked_for_must_answer(mesh: Mesh, registry: str, tmp_path: Path) -> None:
    env = {"CONSUL_HTTP_ADDR": registry}
    result = mesh("check", "--zone", "127.0.0.1:1", "-o", "json", env=env)
    assert result.exit_code == 1
    bundle = str(tmp_path / "none.pem")
    assert mesh("check", "--bundle", bundle, env=env).exit_code == 1


def test_waiting_ends_when_all_is_well(mesh: Mesh, registry: str) -> None:
    # The port is the registry's only a moment after the first look.
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    target = registry.removeprefix("http://").split(":")
    opened = threading.Event()
    listener = threading.Thread(target=_forward, args=(port, (target[0], int(target[1])), opened))
    timer = threading.Timer(0.5, listener.start)
    timer.start()
    try:
        env = {"CONSUL_HTTP_ADDR": f"http://127.0.0.1:{port}"}
        result = mesh("check", "--wait", "30s", "-o", "short", env=env)
    finally:
        timer.join()
        opened.set()
        listener.join()
    assert result.exit_code == 0, result.output


def _forward(port: int, target: tuple[str, int], end: threading.Event) -> None:
    """Answer on ``port`` with what ``target`` answers, one request per connection."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.1)
        while not end.is_set():
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            threading.Thread(target=_relay, args=(client, target)).start()


def _relay(client: socket.socket, target: tuple[str, int]) -> None:
    with client, socket.create_connection(target) as upstream:
        back = threading.Thread(target=_pump, args=(upstream, client))
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other end has gone


def test_vault_is_checked_where_it_is_named(mesh: Mesh, registry: str) -> None:
    with RealVault.running() as vault:
        arguments = ("check", "-o", "json", "--vault", vault.address)
        env = {"CONSUL_HTTP_ADDR": registry, "VAULT_TOKEN": vault.root_token}
        result = mesh(*arguments, env=env)
        assert result.exit_code == 0, result.output
        assert {each["level"] for each in findings(result.output, "Vault").values()} == {"ok"}
        vault.write("sys/policies/acl/little", {"policy": 'path "x" { capabilities = ["read"] }'})
        made = vault.write("auth/token/create", {"policies": ["little"]})
        env["VAULT_TOKEN"] = made.auth["client_token"]
        result = mesh(*arguments, env=env)
        assert result.exit_code == 1
        refused = findings(result.output, "Vault")["Vault's policy"]
        assert "pki/root/sign-intermediate" in refused["text"]
        env["VAULT_TOKEN"] = "nobody"
        assert mesh(*arguments, env=env).exit_code == 1
        assert vault.root_token not in result.output


def test_wait_must_be_a_duration(mesh: Mesh) -> None:
    result = mesh("check", "--wait", "soon")
    assert result.exit_code == 2
    assert "--wait" in result.output


def test_a_failure_is_a_failure() -> None:
    assert report.document([Checked("x", [("y", failure("bad", "mend"))])])["ok"] is False
