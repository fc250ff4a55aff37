"""``mesh token`` and ``mesh zone --check-config`` against a real zone API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mesh.aio.health import health_app
from mesh.ca import tls
from mesh.ca.issuer import Credentials
from mesh.cli.main import app
from mesh.clients.zone import UntrustedZoneError, ZoneAddress, ZoneClient
from mesh.controlplane.metrics import Metrics
from tests.controlplane.zones import ADMIN_TOKEN, ApiServer, Host, listening

Mesh = Callable[..., "asyncio.Future[Result]"]


@pytest.fixture
def mesh(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    """Runs a command in a thread of its own, pointed at the zone by its variables."""
    (tmp_path / "admin-token").write_text(ADMIN_TOKEN)
    (tmp_path / "bundle.pem").write_text(api.parts.trust.bundle().pem)
    monkeypatch.setenv("MESH_ZONE_API", f"127.0.0.1:{api.port}")
    monkeypatch.setenv("MESH_ADMIN_TOKEN_FILE", str(tmp_path / "admin-token"))
    monkeypatch.setenv("MESH_BUNDLE_FILE", str(tmp_path / "bundle.pem"))

    def run(*arguments: str) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, lambda: CliRunner().invoke(app, list(arguments)))

    return run


async def test_a_token_is_made_and_lets_in_until_it_is_revoked(api: ApiServer, mesh: Mesh) -> None:
    result = await mesh("token", "create", "--service", "web", "--ttl", "30m", "-o", "json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert (made["for"], made["reusable"]) == ("web", False)
    host = Host("web")
    assert (await api.enrol(host, made["token"])).status == 200

    result = await mesh("token", "revoke", made["id"], "-o", "yaml")
    assert yaml.safe_load(result.stdout) == {"id": made["id"], "revoked": True}
    assert (await api.enrol(host, made["token"])).status == 403


async def test_a_token_is_written_to_a_file_of_its_owner_alone(
    api: ApiServer, mesh: Mesh, tmp_path: Path
) -> None:
    out = tmp_path / "join"
    result = await mesh("token", "create", "--prefix", "web-", "--reusable", "--out", str(out))
    assert result.exit_code == 0, result.output
    token = out.read_text().strip()
    assert out.stat().st_mode & 0o777 == 0o600
    assert token not in result.output
    assert (await api.enrol(Host("web-9"), token)).status == 200
    result = await mesh("token", "create", "--service", "web", "--out", str(out))
    assert result.exit_code == 2
    assert "exists already" in result.output


async def test_a_table_is_for_people(mesh: Mesh) -> None:
    result = await mesh("token", "create", "--service", "web")
    assert re.search(r"for\s+web", result.stdout)
    assert re.search(r"^ey\S+$", result.stdout, re.MULTILINE)


async def test_a_life_cut_short_by_the_zones_certificate_is_said(mesh: Mesh) -> None:
    result = await mesh("token", "create", "--service", "web", "--ttl", "20d")
    assert result.exit_code == 0
    assert "note: it lives" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create",), "exactly one of --service and --prefix"),
        (("create", "--service", "web", "--prefix", "w"), "exactly one of --service and --prefix"),
        (("create", "--service", "web", "--ttl", "soon"), "--ttl: 'soon' is not a duration"),
        (("create", "--service", "web", "--zone", "nowhere"), "write host:port"),
        (("revoke", "x", "--admin-token-file", "/nowhere"), "No such file"),
    ],
)
async def test_wrong_commands_exit_2_and_say_why(
    mesh: Mesh, arguments: tuple[str, ...], message: str
) -> None:
    result = await mesh("token", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


async def test_refusals_of_the_zone_exit_3_with_its_violations_and_remedy(
    mesh: Mesh, tmp_path: Path
) -> None:
    result = await mesh("token", "create", "--service", "no name")
    assert result.exit_code == 3
    assert "service: " in result.output
    assert "remedy: " in result.output
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-token")
    result = await mesh("token", "revoke", "0" * 32, "--admin-token-file", str(wrong))
    assert result.exit_code == 3
    assert "the admin token is wrong" in result.output
    result = await mesh("token", "revoke", "0" * 32, "--zone", "127.0.0.1:1")
    assert result.exit_code == 3
    assert "check that 'mesh zone' runs there" in result.output


async def test_the_admin_token_goes_to_nobody_but_a_zone(api: ApiServer, tmp_path: Path) -> None:
    host = Host("web")
    await api.enrol(host, await api.mint(service="web"))
    credentials: Credentials | None = host.credentials
    assert credentials is not None
    bundle = api.parts.trust.bundle()
    (tmp_path / "bundle.pem").write_text(bundle.pem)
    impostor = tls.server_context(credentials, bundle, require_client=False)
    async with listening(health_app(Metrics(), list), impostor) as port:
        address = ZoneAddress("127.0.0.1", port, tmp_path / "bundle.pem")
        with pytest.raises(UntrustedZoneError, match="svc/web, not a zone"):
            async with ZoneClient(address, ADMIN_TOKEN):
                pass


async def test_the_client_reads_what_the_zone_knows(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").write_text(api.parts.trust.bundle().pem)
    address = ZoneAddress("127.0.0.1", api.port, tmp_path / "bundle.pem")
    async with ZoneClient(address, ADMIN_TOKEN) as client:
        assert (await client.services())["services"][0]["name"] == "web"
        assert (await client.proxies())["proxies"] == []
        assert (await client.problems())["problems"] == []
        assert (await client.status())["zone"] == "dc1"
        verdict = await client.explain("web", "api", method="GET", headers=[("a", "b=c")])
        assert verdict["header"] == ["a=b=c"]


def test_check_config_prints_the_settings_in_effect(tmp_path: Path) -> None:
    file = tmp_path / "zone.toml"
    file.write_text('zone = "dc2"\n[ca]\nleaf_ttl = "12h"\n')
    result = CliRunner().invoke(app, ["zone", "--config", str(file), "--check-config"])
    assert result.exit_code == 0, result.output
    settings = yaml.safe_load(result.stdout)
    assert (settings["zone"], settings["ca"]["leaf_ttl"]) == ("dc2", "12h")
    arguments = ["zone", "--embedded", "--check-config", "-o", "table"]
    result = CliRunner().invoke(app, arguments)
    assert re.search(r"embedded\.listen\s+127\.0\.0\.1:8500", result.stdout)


def test_check_config_exits_2_with_every_violation(tmp_path: Path) -> None:
    file = tmp_path / "zone.yaml"
    file.write_text("znoe: dc2\nlisten: {api: nowhere}\n")
    result = CliRunner().invoke(app, ["zone", "--config", str(file), "--check-config"])
    assert result.exit_code == 2
    assert "znoe: unknown setting: did you mean 'zone'?" in result.output
    assert "listen.api: 'nowhere' is not an address" in result.output
