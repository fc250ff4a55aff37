"""The settings of a zone: from file and environment to one model, or to every violation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mesh.config.types import HostPort
from mesh.config.zone import load
from mesh.model.violations import InvalidInputError


def paths(error: pytest.ExceptionInfo[InvalidInputError]) -> set[str]:
    return {violation.path for violation in error.value.violations}


def test_nothing_given_is_a_zone_on_the_standard_ports() -> None:
    settings = load()
    assert settings.trust_domain == "mesh.internal"
    assert settings.listen.api == HostPort("0.0.0.0", 5678)  # noqa: S104 - the default
    assert settings.ca.leaf_ttl == timedelta(hours=24)
    assert settings.enrolment.reattest_for == timedelta(days=90)
    assert settings.consul_url == "http://127.0.0.1:8500"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zone.toml", 'zone = "dc2"\n[ca]\nleaf_ttl = "12h"\n[listen]\napi = "127.0.0.1:1"\n'),
        ("zone.yaml", "zone: dc2\nca: {leaf_ttl: 12h}\nlisten: {api: '127.0.0.1:1'}\n"),
        (
            "zone.json",
            '{"zone": "dc2", "ca": {"leaf_ttl": 43200}, "listen": {"api": "127.0.0.1:1"}}',
        ),
    ],
)
def test_a_file_is_read_in_each_format(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    settings = load(file)
    assert settings.zone == "dc2"
    assert settings.ca.leaf_ttl == timedelta(hours=12)
    assert settings.listen.api == HostPort("127.0.0.1", 1)


def test_the_environment_stands_over_the_file_and_the_command_line_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "zone.toml"
    file.write_text('zone = "file"\ntrust_domain = "file"\n[ca]\nleaf_ttl = "1h"\n')
    monkeypatch.setenv("MESH_ZONE__TRUST_DOMAIN", "environment")
    monkeypatch.setenv("MESH_ZONE__CA__LEAF_TTL", "2h")
    monkeypatch.setenv("MESH_ZONE__CONSUL__MAX_WATCHES", "7")
    monkeypatch.setenv("MESH_ZONE__ADVERTISE__XDS", "a:1,[::1]:2")
    settings = load(file, {"ca": {"leaf_ttl": "3h"}})
    assert (settings.zone, settings.trust_domain) == ("file", "environment")
    assert settings.ca.leaf_ttl == timedelta(hours=3)
    assert settings.consul.max_watches == 7
    assert settings.advertised_xds == (HostPort("a", 1), HostPort("::1", 2))


@pytest.mark.parametrize("value", ["true", "True"])
def test_embedded_is_a_switch_or_a_section(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MESH_ZONE__EMBEDDED", value)
    assert load().consul_url == "http://127.0.0.1:8500"
    monkeypatch.setenv("MESH_ZONE__EMBEDDED", "false")
    assert load().embedded is None
    monkeypatch.delenv("MESH_ZONE__EMBEDDED")
    monkeypatch.setenv("MESH_ZONE__EMBEDDED__LISTEN", "127.0.0.1:9500")
    assert load().consul_url == "http://127.0.0.1:9500"


def test_every_violation_is_told_at_once_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "zone.toml"
    file.write_text(
        'zone = "Not A Zone"\nznoe = 1\n[ca]\nmode = "hsm"\nleaf_ttl = "soon"\n'
        '[consul]\ntoken = "secret"\nca_file = "/nowhere/ca.pem"\nmax_watches = 0\n'
        '[listen]\napi = "5678"\n'
    )
    monkeypatch.setenv("MESH_ZONE__TURST_DOMAIN", "x")
    with pytest.raises(InvalidInputError) as error:
        load(file)
    assert paths(error) == {
        "zone",
        "znoe",
        "turst_domain",
        "ca.mode",
        "ca.leaf_ttl",
        "consul.token",
        "consul.ca_file",
        "consul.max_watches",
        "listen.api",
    }
    text = str(error.value)
    assert "consul.token: unknown setting: did you mean 'token_file'?" in text
    assert "turst_domain: unknown setting: did you mean 'trust_domain'?" in text
    assert "secret" not in text
    assert str(file) in text


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ({"ca": {"mode": "vault"}}, "ca.vault", "is required with mode 'vault'"),
        ({"ca": {"leaf_ttl": "8d"}}, "ca.leaf_ttl", "shorter than intermediate_ttl"),
        ({"listen": {"api": "a:1", "xds": "a:1"}}, "listen.xds", "already taken by api"),
        ({"embedded": True, "consul": {}}, "consul", "together with embedded"),
        ({"consul": {"url": "127.0.0.1:8500"}}, "consul.url", "write http://host:port"),
        ({"consul": {"url": "http://u:p@h:1"}}, "consul.url", "token_file"),
        (
            {"enrolment": {"reattest_for": "1d"}},
            "enrolment.reattest_for",
            "not be shorter than max_token_ttl",
        ),
        (
            {"ca": {"mode": "vault", "vault": {"address": "http://v:1", "auth": {}}}},
            "ca.vault.auth",
            "exactly one of token_file and approle",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(
    content: dict[str, object], path: str, message: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        load(None, content)
    assert [violation.path for violation in error.value.violations] == [path]
    assert message in error.value.violations[0].message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zone.ini", "", "use .toml, .yaml or .json"),
        ("zone.toml", "zone =", "is not TOML"),
        ("zone.yaml", "a: [", "is not YAML"),
        ("zone.yaml", "- a", "expected a table"),
    ],
)
def test_an_unreadable_file_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml.*\n.*No such file"):
        load(tmp_path / "none.toml")
