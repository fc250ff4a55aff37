"""``mesh vm``: what it asks for, and what it refuses before a host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.cli import vm_request
from mesh.cli.vm_advice import next_steps
from mesh.cli.vm_protocol import Protocol
from mesh.clients.consul import ConsulAddress
from mesh.model.violations import InvalidInputError
from mesh.vm import systemd
from mesh.vm.errors import VmError
from mesh.vm.layout import Layout, Ports
from mesh.vm.request import Capture, Join
from tests.agent.fakezone import FakeZone
from tests.cli.conftest import Mesh

JOIN = ("vm", "join", "--service", "web", "--port", "8080", "--zone-api", "zone.example:5678")


@pytest.mark.parametrize("command", ["join", "status", "leave"])
def test_the_help_stands_alone(mesh: Mesh, command: str) -> None:
    said = mesh("vm", command, "--help")
    assert said.exit_code == 0
    assert f"mesh vm {command}" in said.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("words", [JOIN, ("vm", "status"), ("vm", "leave")])
def test_a_host_without_systemd_is_told_what_to_run(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(systemd, "is_here", lambda: False)
    said = mesh(*words)
    assert said.exit_code == 2
    assert "systemd does not run this host" in said.stderr
    assert "mesh proxy --help" in said.stderr


def test_everybodys_connections_or_those_of_some() -> None:
    assert vm_request.capture([], "mesh", inbound=False) is None
    assert vm_request.capture(["everybody"], "mesh", inbound=True) == Capture(inbound=True)
    some = ["user:web", "cgroup:system.slice/w.service", "user:1001"]
    assert vm_request.capture(some, "all", inbound=False) == Capture(
        ("web", "1001"), ("system.slice/w.service",), "all"
    )


def test_all_that_is_wrong_with_a_capture_is_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as refused:
        vm_request.capture(["everybody", "group:x", "user:"], "world", inbound=False)
    told = str(refused.value)
    assert all(repr(each) in told for each in ("world", "everybody", "group:x", "user:"))
    with pytest.raises(InvalidInputError, match="needs --capture"):
        vm_request.capture([], "mesh", inbound=True)


def request(check: str = "", registration: str = "zone") -> Join:
    return vm_request.request(
        service="web",
        app="127.0.0.1:8080",
        zone_api=["zone.example:5678"],
        upstreams=["api:9001"],
        check=check,
        capture=None,
        registration=registration,
        trust_domain="",
        more={},
    )


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("", {}),
        ("tcp", {"kind": "tcp"}),
        ("none", {"kind": "none"}),
        ("http@5s", {"kind": "http", "interval": "5s"}),
        ("http:/healthz@5s", {"kind": "http", "path": "/healthz", "interval": "5s"}),
    ],
)
def test_a_health_check_in_one_word(check: str, expected: dict[str, str]) -> None:
    assert request(check).health == expected


@pytest.mark.parametrize("check", ["udp", "tcp:/x", "http@", "none:"])
def test_no_health_check(check: str) -> None:
    with pytest.raises(InvalidInputError, match="--health") as refused:
        request(check, "etcd")
    assert "--register" in str(refused.value)


def test_an_application_is_named_once() -> None:
    assert vm_request.app(8080, "") == "127.0.0.1:8080"
    assert vm_request.app(None, "10.0.0.1:80") == "10.0.0.1:80"
    for port, application in ((None, ""), (8080, "10.0.0.1:80")):
        with pytest.raises(InvalidInputError, match="exactly one"):
            vm_request.app(port, application)


def test_a_token_comes_from_a_file_and_is_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = FakeZone().join_token()
    file.write_text(f"{token}\n")
    assert vm_request.token(str(file)) == token
    assert vm_request.token("") == ""
    file.write_text("s3cret")
    with pytest.raises(Exception, match="not one that a zone of this mesh made") as refused:
        vm_request.token(str(file))
    assert "s3cret" not in str(refused.value)
    with pytest.raises(InvalidInputError, match="--token-file"):
        vm_request.token(str(tmp_path / "absent"))


def test_a_registry_is_found_by_asking(registry: str) -> None:
    there, nowhere = ConsulAddress(registry), ConsulAddress("http://127.0.0.1:1")
    assert vm_request.registration("auto", None, there) == "consul"
    assert vm_request.registration("auto", None, nowhere) == "zone"
    assert vm_request.registration("auto", "zone", there) == "zone"
    assert vm_request.registration("none", "zone", there) == "none"


def test_what_a_service_speaks_is_written_once_and_never_over_another(registry: str) -> None:
    consul = ConsulAddress(registry)
    first = Protocol(consul, "web", "http")
    assert first.steps() == ("consul   write service-defaults web (Protocol http)",)
    first.write()
    assert Protocol(consul, "web", "http").steps() == ()
    with pytest.raises(VmError, match="say http, not tcp") as refused:
        Protocol(consul, "web", "tcp")
    assert "--protocol http" in refused.value.remedy
    Protocol(consul, "web", "http").take_back()  # it was there before
    assert Protocol(consul, "web", "http").steps() == ()
    first.take_back()
    assert Protocol(consul, "web", "http").steps() != ()
    assert Protocol(consul, "web", "").steps() == ()
    with pytest.raises(InvalidInputError, match="tcp, http, http2, grpc"):
        Protocol(consul, "web", "smtp")


def test_consuls_token_is_taken_from_where_the_unit_has_it(tmp_path: Path) -> None:
    layout, usual = Layout(tmp_path), ConsulAddress("http://127.0.0.1:8500")
    assert vm_request.consul_section(usual, "web", layout) == {}
    elsewhere = ConsulAddress("http://127.0.0.1:18500")
    assert vm_request.consul_section(elsewhere, "web", layout) == {"consul": {"url": elsewhere.url}}
    layout.etc.mkdir(parents=True)
    layout.consul_token.write_text("secret")
    token = "/run/credentials/mesh-proxy@web.service/consul-token"
    assert vm_request.consul_section(usual, "web", layout) == {"consul": {"token_file": token}}


def test_who_joined_is_told_what_to_try() -> None:
    told = "\n".join(next_steps(request(), Ports(1)))
    assert "curl http://127.0.0.1:9001/" in told
    assert "mesh intention allow web api" in told
    assert "127.0.0.1:15030/ready" in told
    assert "mesh vm status" in told
    assert "mesh intention allow <caller> web" in told
