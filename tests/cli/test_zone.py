"""Commands that ask a zone, against the zone's real API over TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from typer.testing import Result

from mesh.aio.health import health_app
from mesh.ca import tls
from mesh.ca.builtin import builtin_issuer
from mesh.ca.bundle import from_pem
from mesh.ca.csr import check_csr
from mesh.ca.issuer import Credentials
from mesh.ca.local import LocalIssuer
from mesh.cli import ca, proxies
from mesh.cli.checks import zone_proxies, zone_reachable, zone_status
from mesh.cli.checks.model import Level
from mesh.cli.zone_probe import Probe
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.controlplane.api.app import api_app
from mesh.controlplane.metrics import Metrics
from mesh.controlplane.tls import ZoneTls
from mesh.envoy import endpoint
from mesh.envoy.resource import ENDPOINTS, SECRET, Snapshot, pack
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.proxies import ProxyNeed
from mesh.xds.status import Nack, ProxyStatus, TypeStatus
from tests.cli.conftest import Mesh
from tests.controlplane.zones import ADMIN_TOKEN, Host, StillView, api_server, listening

ZONE = ZoneId("mesh.test", "dc1")
NOW = datetime(2025, 6, 1, tzinfo=UTC)
AskZone = Callable[..., "asyncio.Future[Result]"]


class BusyView(StillView):
    """A zone with one proxy that refuses its endpoints."""

    def proxies(self) -> Sequence[ProxyStatus]:
        """Answer: web, out of sync."""
        refusal = Nack(("api",), "no such field", 0.0)
        types = (
            TypeStatus(
                ENDPOINTS,
                wildcard=False,
                subscribed=1,
                sent=2,
                acked=1,
                waiting=False,
                nacks=1,
                nack=refusal,
            ),
        )
        return [
            ProxyStatus(
                session=1,
                node="web/web-1",
                identity=WorkloadId("mesh.test", "dc1", "web"),
                need=ProxyNeed("web", "dc1", None),
                address="192.0.2.1:4711",
                connected_at=NOW.timestamp(),
                certificate_expires_at=NOW.timestamp() + 3600,
                bytes_sent=100,
                types=types,
                in_sync=False,
            )
        ]

    def snapshot(self, session: int) -> Snapshot | None:
        """Answer: an endpoint, and a secret with a key."""
        assert session == 1
        key = base_pb2.DataSource(inline_string="-----BEGIN PRIVATE KEY-----")
        certificate = common_pb2.TlsCertificate(private_key=key)
        secret = secret_pb2.Secret(name="api", tls_certificate=certificate)
        assignment = endpoint.assignment_of("api", "192.0.2.7", 21000)
        return {
            ENDPOINTS: (pack("api", assignment),),
            SECRET: (pack("api", secret),),
        }


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[LocalIssuer]:
    made = builtin_issuer(tmp_path / "ca", ZONE)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def port(issuer: LocalIssuer) -> AsyncIterator[int]:
    """Serves the zone's real API over a view of the test's own."""
    # The routes under test never ask Consul.
    async with (
        ConsulClient(ConsulAddress("http://127.0.0.1:1")) as nowhere,
        api_server(ZONE, issuer, nowhere) as server,
    ):
        context = await ZoneTls(issuer, require_client=False).start()
        parts = replace(server.parts, view=BusyView())
        async with listening(api_app(parts), context) as place:
            yield place


@pytest.fixture
def ask(port: int, issuer: LocalIssuer, mesh: Mesh, tmp_path: Path) -> AskZone:
    """Runs a command in a thread of its own, pointed at the zone by its variables."""
    (tmp_path / "admin-token").write_text(ADMIN_TOKEN)
    (tmp_path / "bundle.pem").write_text(issuer.bundle().pem)
    env = {
        "MESH_ZONE_API": f"127.0.0.1:{port}",
        "MESH_ADMIN_TOKEN_FILE": str(tmp_path / "admin-token"),
        "MESH_BUNDLE_FILE": str(tmp_path / "bundle.pem"),
    }

    def run(*arguments: str, **more: str) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, lambda: mesh(*arguments, env={**env, **more}))

    return run


async def test_proxies_show_what_is_refused_and_why(ask: AskZone) -> None:
    result = await ask("proxies")
    assert result.exit_code == 0, result.output
    assert "web/web-1" in result.output
    assert "refuses ClusterLoadAssignment api: no such field" in result.output
    listed = json.loads((await ask("proxies", "-o", "json")).output)
    assert [each["in_sync"] for each in listed] == [False]


async def test_config_shows_what_was_sent_and_never_a_key(ask: AskZone) -> None:
    table = await ask("config", "--proxy", "web/web-1")
    assert table.exit_code == 0, table.output
    assert "192.0.2.7:21000" in table.output
    assert "not acknowledged" in table.output
    for form in ("json", "yaml", "table"):
        said = (await ask("config", "all", "--proxy", "web/web-1", "-o", form)).output
        assert "PRIVATE KEY" not in said
    only = json.loads((await ask("config", "secrets", "--proxy", "web/web-1", "-o", "json")).output)
    assert [each["content"]["tls_certificate"]["private_key"] for each in only] == ["[redacted]"]


async def test_config_of_an_unknown_proxy_says_where_to_look(ask: AskZone) -> None:
    result = await ask("config", "--proxy", "web/none")
    assert result.exit_code == 3
    assert "mesh proxies" in result.output


async def test_ca_status_tells_mode_roots_and_ends(ask: AskZone, issuer: LocalIssuer) -> None:
    document = json.loads((await ask("ca", "status", "-o", "json")).output)
    assert document["mode"] == "builtin"
    assert document["fingerprint"] == issuer.bundle().fingerprint
    assert [root["fingerprint"] for root in document["roots"]] == [issuer.bundle().fingerprint]
    assert issuer.bundle().fingerprint in (await ask("ca", "status")).output


async def test_ca_bundle_needs_no_admin_token(
    ask: AskZone, issuer: LocalIssuer, tmp_path: Path
) -> None:
    nobody = {"MESH_ADMIN_TOKEN_FILE": str(tmp_path / "none")}
    printed = await ask("ca", "bundle", **nobody)
    assert printed.output == issuer.bundle().pem
    out = tmp_path / "roots.pem"
    written = await ask("ca", "bundle", "--out", str(out), **nobody)
    assert written.exit_code == 0
    assert out.read_text() == issuer.bundle().pem
    nowhere = await ask("ca", "bundle", "--out", str(tmp_path / "none" / "x"), **nobody)
    assert nowhere.exit_code == 2


async def test_a_zone_that_the_bundle_does_not_trust_is_refused(
    ask: AskZone, tmp_path: Path
) -> None:
    stranger = builtin_issuer(tmp_path / "stranger", ZONE)
    await stranger.start()
    (tmp_path / "other.pem").write_text(stranger.bundle().pem)
    await stranger.close()
    for command in (("ca", "bundle"), ("proxies",), ("ca", "status")):
        result = await ask(*command, MESH_BUNDLE_FILE=str(tmp_path / "other.pem"))
        assert result.exit_code == 3
        assert "is not from a root in" in result.output


async def test_a_workload_is_not_taken_for_a_zone(ask: AskZone, issuer: LocalIssuer) -> None:
    host = Host("web")
    signed = await issuer.sign(check_csr(host.csr(), host.identity), timedelta(hours=1))
    credentials = Credentials(
        signed.chain_pem, host.key, signed.serial, signed.not_before, signed.not_after
    )
    impostor = tls.server_context(credentials, issuer.bundle(), require_client=False)
    async with listening(health_app(Metrics(), list), impostor) as place:
        result = await ask("ca", "bundle", MESH_ZONE_API=f"127.0.0.1:{place}")
    assert result.exit_code == 3
    assert "svc/web, not a zone" in result.output


async def test_a_missing_bundle_is_named(ask: AskZone, tmp_path: Path) -> None:
    result = await ask("ca", "bundle", MESH_BUNDLE_FILE=str(tmp_path / "missing.pem"))
    assert result.exit_code == 3
    assert "missing.pem cannot be read" in result.output


async def test_check_finds_the_proxy_that_refuses(ask: AskZone, registry: str) -> None:
    result = await ask("check", "-o", "json", CONSUL_HTTP_ADDR=registry)
    assert result.exit_code == 1
    document = json.loads(result.output)
    zone = next(each for each in document["sections"] if each["name"] == "Zone")
    found = {(each["check"], each["level"]) for each in zone["checks"]}
    assert ("the zone's API answers", "ok") in found
    assert ("clock of the zone", "ok") in found
    assert ("the zone is ready", "ok") in found
    assert ("proxies in sync", "failure") in found
    assert document["ok"] is False


async def test_check_names_a_missing_admin_token(
    ask: AskZone, registry: str, tmp_path: Path
) -> None:
    env = {"CONSUL_HTTP_ADDR": registry, "MESH_ADMIN_TOKEN_FILE": str(tmp_path / "none")}
    result = await ask("check", "-o", "short", **env)
    assert result.exit_code == 1
    assert "name another with --admin-token-file" in result.output
    assert "Not checked: proxies in sync" in result.output


def proxy(**more: object) -> dict[str, object]:
    return {
        "id": "web/web-1",
        "service": "web",
        "address": "192.0.2.1:1",
        "connected_at": NOW.isoformat(),
        "in_sync": True,
        "types": [],
        **more,
    }


def test_ages_and_certificates_of_proxies_are_told() -> None:
    expires = (NOW + timedelta(hours=30)).isoformat()
    found = proxies.rows([proxy(certificate_expires_at=expires)], NOW + timedelta(minutes=61))
    assert found == [
        ("web", "web/web-1", "192.0.2.1:1", "1h1m", "synced", "1d4h left"),
    ]
    behind = [{"type": "a.b.Cluster", "sent": 2, "acked": 1, "nack": None}]
    assert proxies.state(proxy(in_sync=False, types=behind)) == "waiting for Cluster"


@pytest.mark.parametrize(
    ("left", "level"),
    [
        (timedelta(seconds=-1), Level.FAILURE),
        (timedelta(hours=1), Level.WARNING),
        (timedelta(hours=20), Level.OK),
    ],
)
def test_certificates_near_their_end_are_found(left: timedelta, level: Level) -> None:
    end = NOW + left
    assert zone_reachable.judge(end, NOW).level is level
    shown = proxy(certificate_expires_at=end.isoformat())
    assert [each.level for each in zone_proxies.judge([shown], NOW)] == [level]


def test_a_zone_that_is_not_ready_gives_its_reasons() -> None:
    status = {
        "zone": "dc1",
        "reasons": ["Consul has not told everything yet"],
        "warnings": ["the root expires"],
        "ca_mode": "vault",
        "ca_expires_at": (NOW + timedelta(hours=2)).isoformat(),
        "proxies": 0,
        "services": 0,
    }
    levels = [each.level for each in zone_status.judge(status, NOW)]
    assert levels == [Level.FAILURE, Level.WARNING, Level.WARNING]


async def test_ca_warnings_name_a_root_at_its_end(issuer: LocalIssuer) -> None:
    root = from_pem(issuer.bundle().pem)[0]
    bundle = issuer.bundle()
    seen = Probe(
        ZONE.uri,
        NOW,
        None,
        {
            "zone": "dc1",
            "trust_domain": "mesh.test",
            "bundle": bundle.pem,
            "fingerprint": bundle.fingerprint,
        },
    )
    soon = root.not_valid_after_utc - timedelta(days=3)
    document = ca.describe({"ca_mode": "builtin", "warnings": []}, seen, soon)
    assert len(document["warnings"]) == 1
    assert "rotate it" in document["warnings"][0]
