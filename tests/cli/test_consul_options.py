"""The options of Consul, as a command receives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mesh.cli.consul import consul_options
from mesh.clients.consul import ConsulAddress

pytestmark = pytest.mark.usefixtures("bare_environment")


def received(*arguments: str, env: dict[str, str] | None = None) -> ConsulAddress:
    found: list[ConsulAddress] = []
    app = typer.Typer()

    @app.command()
    @consul_options
    def command(name: str, *, consul: ConsulAddress) -> None:
        """Keep what was received."""
        assert name == "web"
        found.append(consul)

    result = CliRunner().invoke(app, ["web", *arguments], env=env)
    assert result.exit_code == 0, (result.output, result.exception)
    return found[0]


def test_the_default_is_the_agent_of_this_host() -> None:
    assert received() == ConsulAddress("http://127.0.0.1:8500")


def test_the_fields_own_variables_are_read() -> None:
    env = {"CONSUL_HTTP_ADDR": "consul:8500", "CONSUL_HTTP_TOKEN": "t"}
    assert received(env=env) == ConsulAddress("http://consul:8500", token="t")


def test_an_option_stands_over_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    env = {"CONSUL_HTTP_ADDR": "consul:8500", "CONSUL_HTTP_TOKEN": "t"}
    given = ("--consul", "http://other:8500", "--consul-token-file", str(file))
    assert received(*given, env=env) == ConsulAddress("http://other:8500", token="from-file")


def test_tls_files_are_for_https_only() -> None:
    env = {"CONSUL_CACERT": "/etc/ca.pem"}
    assert received("--consul", "http://c:8500", env=env).ca_file == ""
    assert received("--consul", "https://c:8501", env=env).ca_file == "/etc/ca.pem"
    # A bare address of a host that has a CA for Consul means TLS.
    assert received("--consul", "c:8501", env=env).url == "https://c:8501"
    assert received("--consul", "unix:///run/consul.sock", env=env).socket == "/run/consul.sock"
