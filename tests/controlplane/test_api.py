"""The API's pipeline: who is let in, how errors look, and that its description is true."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from mesh.aio.health import health_app
from mesh.ca.builtin import builtin_issuer
from mesh.ca.bundle import TrustBundle
from mesh.ca.local import LocalIssuer
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.config.types import HostPort
from mesh.controlplane import token_file
from mesh.controlplane.api.app import MAX_BODY, api_app
from mesh.controlplane.listening import listen
from mesh.controlplane.metrics import Metrics, PushMetrics, XdsMetrics
from mesh.controlplane.tls import ZoneTls
from mesh.controlplane.token_file import TokenFileError
from mesh.xds.server import ListenError
from tests.controlplane.conftest import ZONE, StartApi
from tests.controlplane.zones import ADMIN_TOKEN, ApiServer, Host, api_server, listening

ADMIN_ROUTES = [
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/tokens/x"),
    ("GET", "/v1/proxies"),
    ("GET", "/v1/proxies/web/web-1/config"),
    ("GET", "/v1/services"),
    ("GET", "/v1/explain"),
    ("GET", "/v1/problems"),
    ("GET", "/v1/status"),
    ("POST", "/v1/policies/dry-run"),
]


async def test_the_description_has_every_route_and_no_other(api: ApiServer) -> None:
    document = (await api.call("GET", "/openapi.json")).body
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    served = {
        (route.method, re.sub(r":[^}]*", "", route.resource.canonical))
        for route in api_app(api.parts).router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert described == served
    schemas = document["components"]["schemas"]
    references = re.findall(r"#/components/schemas/(\w+)", str(document))
    assert set(references) <= set(schemas)
    assert schemas["EnrolRequest"]["additionalProperties"] is False


async def test_every_operation_says_who_may_call_it(api: ApiServer) -> None:
    paths = (await api.call("GET", "/openapi.json")).body["paths"]
    assert paths["/v1/bundle"]["get"]["security"] == []
    assert paths["/v1/renew"]["post"]["security"] == [{"workload": []}]
    assert paths["/v1/tokens"]["post"]["security"] == [{"admin": []}]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_administration_needs_the_admin_token(api: ApiServer, method: str, path: str) -> None:
    for token, error in (("", "no admin token was sent"), ("wrong", "the admin token is wrong")):
        reply = await api.call(method, path, admin=token)
        assert reply.status == 401
        assert reply.body["error"] == error
        assert "admin token file" in reply.body["remedy"]
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_bundle_can_be_pinned(api: ApiServer) -> None:
    body = (await api.call("GET", "/v1/bundle")).body
    parsed = TrustBundle.parse(body["bundle"], "mesh.test")
    assert parsed.fingerprint == body["fingerprint"]
    assert (body["trust_domain"], body["zone"]) == ("mesh.test", "dc1")


async def test_every_violation_of_a_request_is_told(api: ApiServer) -> None:
    body = {"service": "not a name", "csr": 5, "proof": {"kind": "wish"}, "extra": 1}
    reply = await api.call("POST", "/v1/enrol", json=body)
    assert reply.status == 422
    assert {each["path"] for each in reply.body["violations"]} == {
        "service",
        "csr",
        "proof.kind",
        "proof.token",
        "extra",
    }
    reply = await api.call("GET", "/v1/explain?source=a&surprise=1", admin=ADMIN_TOKEN)
    assert {each["path"] for each in reply.body["violations"]} == {"destination", "surprise"}


async def test_join_tokens_that_cannot_be_are_not_made(api: ApiServer) -> None:
    for body, path in (
        ({}, ""),
        ({"service": "web", "prefix": "w"}, ""),
        ({"service": "web", "ttl_seconds": 0}, "ttl_seconds"),
        ({"service": "web", "ttl_seconds": 1e300}, "ttl_seconds"),
        ({"service": "web", "ttl_seconds": 9e6}, "ttl_seconds"),
        ({"prefix": "**"}, "prefix"),
    ):
        reply = await api.call("POST", "/v1/tokens", json=body, admin=ADMIN_TOKEN)
        assert reply.status == 422, body
        assert [each["path"] for each in reply.body["violations"]] == [path]
    reply = await api.call("DELETE", "/v1/tokens/a.b.c", admin=ADMIN_TOKEN)
    assert "not the token itself" in str(reply.body)


@pytest.mark.parametrize(
    ("method", "path", "data", "kind", "status"),
    [
        ("GET", "/nothing", None, "", 404),
        ("PATCH", "/v1/enrol", None, "", 405),
        ("POST", "/v1/enrol", b"{", "application/json", 422),
        ("POST", "/v1/enrol", b"a=b", "application/x-www-form-urlencoded", 415),
        ("POST", "/v1/enrol", b" " * (MAX_BODY + 1), "application/json", 413),
    ],
)
async def test_every_error_has_the_one_shape(  # noqa: PLR0917 - one argument for each column
    api: ApiServer, method: str, path: str, data: bytes | None, kind: str, status: int
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    reply = await api.call(method, path, data=data, headers=headers)
    assert reply.status == status
    assert set(reply.body) == {"error", "remedy", "violations"}
    assert reply.body["error"]
    assert reply.body["remedy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"


async def test_an_unforeseen_error_tells_its_id_and_nothing_else(
    api: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.view.status_error = RuntimeError("internal detail")
    headers = {"X-Request-Id": "trace-7"}
    reply = await api.call("GET", "/v1/status", admin=ADMIN_TOKEN, headers=headers)
    assert reply.status == 500
    assert "trace-7" in reply.body["remedy"]
    assert reply.headers["X-Request-Id"] == "trace-7"
    assert "internal detail" not in str(reply.body)
    assert any(record.__dict__.get("request_id") == "trace-7" for record in caplog.records)


async def test_without_consul_the_answer_says_so(issuer: LocalIssuer) -> None:
    async with (
        ConsulClient(ConsulAddress("http://127.0.0.1:1")) as nobody,
        api_server(ZONE, issuer, nobody) as api,
    ):
        token = await api.mint(service="web")
        reply = await api.enrol(Host("web"), token)
    assert reply.status == 503
    assert reply.body["error"].startswith("Consul: no answer")
    assert 'mesh_consul_errors_total{call="/v1/kv"} 1.0' in api.parts.metrics.expose().decode()
    assert "try again" in reply.body["remedy"]


async def test_a_new_root_and_certificate_serve_the_next_connection(
    start_api: StartApi, tmp_path: Path
) -> None:
    old, new = builtin_issuer(tmp_path / "old", ZONE), builtin_issuer(tmp_path / "new", ZONE)
    await old.start()
    await new.start()
    try:
        rotating = Rotating(old)
        api = await start_api(issuer=rotating)
        host = Host("web")
        await api.enrol(host, await api.mint(service="web"))
        rotating.now = new
        assert await api.zone_tls.refresh()
        assert not await api.zone_tls.refresh()
        # The client believes the new root only; the zone no longer believes the old one's leaf.
        assert (await api.call("GET", "/v1/bundle")).status == 200
        with pytest.raises(aiohttp.ClientError):
            await api.call(
                "POST", "/v1/renew", json={"csr": host.csr()}, credentials=host.credentials
            )
    finally:
        await old.close()
        await new.close()


class Rotating(LocalIssuer):
    """An issuer that is one and then another."""

    def __init__(self, now: LocalIssuer) -> None:
        """Begin with ``now``."""
        self.now = now

    def __getattribute__(self, name: str) -> object:
        """Pass what the zone asks on to the issuer of the moment."""
        if name in {"sign", "zone_identity", "bundle", "status"}:
            return getattr(object.__getattribute__(self, "now"), name)
        return object.__getattribute__(self, name)


async def test_a_port_already_taken_is_named_with_its_remedy(api: ApiServer) -> None:
    place = HostPort("127.0.0.1", api.port)
    async with AsyncExitStack() as stack:
        with pytest.raises(ListenError, match=f"ss -ltnp 'sport = :{api.port}'"):
            await listen(stack, "metrics", health_app(Metrics(), list), place)


async def test_health_and_metrics_are_served_in_the_open() -> None:
    metrics, reasons = Metrics(), ["Consul has not told the intentions yet"]
    XdsMetrics(metrics).on_nack("type.googleapis.com/envoy.config.listener.v3.Listener", ("a",))
    PushMetrics(metrics).pushed(sessions=3, seconds=0.01, waited=0.0)
    async with (
        listening(health_app(metrics, lambda: reasons)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.get("/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain")
        assert 'mesh_xds_nacks_total{type="Listener"} 1.0' in text
        assert "mesh_push_sessions_total 3.0" in text
        async with session.get("/live") as answer:
            assert answer.status == 200
        async with session.get("/ready") as answer:
            assert answer.status == 503
            assert (await answer.json())["reasons"] == reasons
        reasons.clear()
        async with session.get("/ready") as answer:
            assert answer.status == 200


def test_the_admin_token_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "admin-token"
    token = token_file.read_or_make(file)
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert token_file.read_or_make(file) == token
    assert [each.name for each in file.parent.iterdir()] == ["admin-token"]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("x" * 40, 0o644, "chmod 600"),
        ("short", 0o600, "fewer than 20 characters"),
        ("", 0o600, "fewer than 20 characters"),
    ],
)
def test_an_admin_token_that_is_no_secret_is_refused(
    tmp_path: Path, content: str, mode: int, message: str
) -> None:
    file = tmp_path / "admin-token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(TokenFileError, match=message):
        token_file.read_or_make(file)


async def test_tls_asks_for_no_certificate_it_does_not_know(issuer: LocalIssuer) -> None:
    context = await ZoneTls(issuer, require_client=True).start()
    assert context.verify_mode.name == "CERT_REQUIRED"
