"""``mesh proxy``'s settings, and their way to the agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.errors import SettingsError
from mesh.agent.settings import AgentSettings
from mesh.config import redirected
from mesh.config.proxy import load_proxy
from mesh.model.proxies import Capture, Inbound, Upstream
from mesh.model.violations import InvalidInputError

LEAST: dict[str, Any] = {
    "service": "web",
    "state_dir": "/var/lib/mesh/web",
    "zone_api": ["zone.example:5678"],
    "join_token_file": "/etc/mesh/token",
    "app": "127.0.0.1:8080",
}


def agent(given: dict[str, Any], file: Path | None = None) -> AgentSettings:
    return AgentSettings.from_json(json.loads(json.dumps(load_proxy(file, given).for_agent())))


def test_the_least_that_is_needed() -> None:
    settings = agent(LEAST)
    assert not settings.id
    assert settings.inbound == Inbound("0.0.0.0", 15006, "127.0.0.1", 8080)  # noqa: S104 - the default
    assert settings.listen == ("127.0.0.1", 15020)
    assert settings.zone_api == (("zone.example", 5678),)
    assert (settings.register, settings.proof_kind) == ("consul", "join-token")
    assert settings.advertise_address is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("127.0.0.1:15001", Capture("127.0.0.1", 15001, "::1")),
        ("127.0.0.2:15001", Capture("127.0.0.2", 15001)),
        ("[::]:15001", Capture("::", 15001)),
    ],
)
def test_the_place_of_captured_connections_reaches_the_need(
    given: str | None, expected: Capture | None
) -> None:
    assert agent({**LEAST, "capture": given}).need("dc1").capture == expected


def test_the_place_of_names_reaches_the_need() -> None:
    capturing = {**LEAST, "capture": "127.0.0.1:15001"}
    assert agent(capturing).need("dc1").dns is None
    asked = agent({**capturing, "dns": "127.0.0.1:15053"}).need("dc1").dns
    assert asked == Capture("127.0.0.1", 15053, "::1")


def test_a_host_without_ipv6_has_the_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirected, "_IPV6", "2001:db8::1")
    found = agent({**LEAST, "capture": "127.0.0.1:15001"}).need("dc1").capture
    assert found == Capture("127.0.0.1", 15001)


def test_a_proxy_may_do_nothing_but_capture() -> None:
    assert agent({**LEAST, "app": None, "capture": "127.0.0.1:15001"}).inbound is None


def test_everything_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("""
        service = "web"
        id = "web-7"
        state_dir = "/s"
        zone_api = ["[::1]:5678", "b:1"]
        consul_token_file = "/t"
        bundle_file = "/b"
        inbound_address = "10.0.0.9"
        app = "127.0.0.1:1"
        upstreams = ["api:9001", "db:127.0.0.2:5432"]
        registration = "zone"
        tags = ["a"]
        meta = { k = "v" }
        drain = "1m"
        [health]
        kind = "http"
        path = "/ok"
        interval = "3s"
        [consul]
        url = "https://localhost:8501"
        token_file = "/ct"
        ca_file = "/ca"
    """)
    settings = agent({}, file)
    assert settings.zone_api == (("::1", 5678), ("b", 1))
    assert settings.upstreams == (Upstream("api", 9001), Upstream("db", 5432, "127.0.0.2"))
    assert settings.advertise_address == "10.0.0.9"
    assert (settings.drain_seconds, settings.health.interval) == (60.0, 3.0)
    assert settings.consul.token_file == Path("/ct")
    assert settings.bundle_file == Path("/b")


def test_the_environment_and_the_command_line_stand_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('service = "one"\nconcurrency = 1\n')
    monkeypatch.setenv("MESH_PROXY_SERVICE", "two")
    monkeypatch.setenv("MESH_PROXY_CONCURRENCY", "3")
    monkeypatch.setenv("MESH_PROXY_CONSUL__URL", "http://c:1")
    given = {key: value for key, value in LEAST.items() if key != "service"}
    settings = agent({**given, "concurrency": 4}, file)
    assert (settings.service, settings.concurrency, settings.consul.url) == ("two", 4, "http://c:1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": "we b", "inbound_port": 0, "color": 1}, ("service", "inbound_port", "color")),
        ({"consul_token_file": "/t"}, ("exactly one",)),
        ({"join_token_file": None}, ("exactly one",)),
        ({"join_token_file": None, "consul_token_file": "/t"}, ("bundle_file",)),
        ({"advertise_address": "0.0.0.0"}, ("advertise_address", "callers")),  # noqa: S104 - refused
        ({"app": "localhost:80"}, ("IP address",)),
        ({"app": None}, ("nothing to do",)),
        ({"capture": "localhost:15001"}, ("capture", "IP address")),
        ({"dns": "127.0.0.1:15053"}, ("dns", "only with capture")),
        ({"capture": "127.0.0.1:1", "dns": "localhost:53"}, ("dns", "IP address")),
        ({"capture": "127.0.0.1:0"}, ("capture", "IP address")),
        ({"capture": "127.0.0.1:1", "upstreams": ["a:1"]}, ("another listener",)),
        ({"capture": "0.0.0.0:15006"}, ("another listener",)),
        ({"zone_api": []}, ("zone_api",)),
        ({"upstreams": ["api"]}, ("service:port",)),
        ({"upstreams": ["a:1", "b:1"]}, ("same address",)),
        ({"id": "a/b"}, ("instance",)),
        ({"registration": "etcd"}, ("registration",)),
        ({"app_metrics_url": "ftp://x"}, ("http://",)),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_proxy(None, {**LEAST, **change})
    assert all(word in str(caught.value) for word in words)


def test_the_agent_refuses_what_mesh_proxy_did_not_write(tmp_path: Path) -> None:
    for content in ("", "[]", '{"service": 1}'):
        (tmp_path / "agent.json").write_text(content)
        with pytest.raises(SettingsError, match="mesh proxy"):
            AgentSettings.load(tmp_path / "agent.json")
