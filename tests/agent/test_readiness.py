"""What the readiness port says."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web as aioweb

from mesh.agent import http, web
from mesh.agent.admin import Condition
from mesh.agent.errors import PortTakenError
from mesh.agent.identity import Svid
from mesh.agent.readiness import Readiness, Status, expected, missing
from mesh.agent.settings import AgentSettings
from mesh.aio.clock import ManualClock
from mesh.envoy.resource import LISTENER
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.render.renderer import Renderer
from mesh.world.snapshot import World
from tests.agent.conftest import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVID = Svid("mesh.example", "dc1", "web", "0a", NOW, NOW + timedelta(hours=1), ())
LISTENERS = {"inbound": "callers", "outbound:api:127.0.0.1:9001": "upstream api"}
LIVE = Condition("LIVE", frozenset(LISTENERS))
NEED = ProxyNeed(
    "web",
    "dc1",
    Inbound("0.0.0.0", 15006, "127.0.0.1", 8080),  # noqa: S104 - only a value here
    (Upstream("api", 9001), Upstream("db", 9002, "127.0.0.2")),
)


@pytest.mark.parametrize(
    ("svid", "condition", "draining", "words"),
    [
        (SVID, LIVE, False, ()),
        (None, LIVE, False, ("enrolled",)),
        (SVID, None, False, ("envoy",)),
        (SVID, Condition("INITIALIZING", frozenset()), False, ("INITIALIZING",)),
        (SVID, Condition("LIVE", frozenset()), False, ("callers", "upstream api")),
        (SVID, Condition("LIVE", frozenset({"inbound"})), False, ("upstream api",)),
        (SVID, Condition("LIVE", frozenset({"outbound:api:127.0.0.1:9001"})), False, ("callers",)),
        (SVID, LIVE, True, ("draining",)),
        (None, None, True, ("draining", "enrolled", "envoy")),
    ],
)
def test_what_is_missing(
    svid: Svid | None, condition: Condition | None, words: tuple[str, ...], *, draining: bool
) -> None:
    reasons = missing(svid, condition, NOW, listeners=LISTENERS, draining=draining)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_an_expired_certificate_is_missing() -> None:
    (reason,) = missing(SVID, LIVE, NOW + timedelta(hours=2), listeners=LISTENERS, draining=False)
    assert "expired" in reason


def test_the_listeners_are_those_that_the_zone_makes(settings: AgentSettings) -> None:
    for inbound in (NEED.inbound, None):
        need = dataclasses.replace(NEED, inbound=inbound)
        known = {each.service: () for each in need.upstreams}
        renderer = Renderer(World("dc1", "mesh.example", instances=known))
        made = {each.name for each in renderer.connect(1, need)[LISTENER]}
        declared = dataclasses.replace(settings, inbound=inbound, upstreams=need.upstreams)
        assert set(expected(declared)) == made


async def test_the_pages(settings: AgentSettings) -> None:
    address = ("127.0.0.1", free_port())
    app_port = free_port()
    settings = dataclasses.replace(settings, app_metrics_url=f"http://127.0.0.1:{app_port}/metrics")
    pages = Readiness(Status(svid=SVID), ManualClock(NOW), settings).pages()

    async def metrics(request: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(text="# TYPE app_up gauge\napp_up 1\n")

    app = aioweb.Application()
    app.router.add_get("/metrics", metrics)
    runner = aioweb.AppRunner(app)
    await runner.setup()
    await aioweb.TCPSite(runner, "127.0.0.1", app_port).start()
    async with await web.serve(address, pages):
        server = http.Server(*address)
        assert (await http.request(server, "GET", "/live")).status == 200
        assert (await http.request(server, "GET", "/ready?x")).status == 503
        merged = (await http.request(server, "GET", "/metrics")).body.decode()
        assert "app_up 1\n" in merged
        assert "mesh_agent_app_metrics_up 1\n" in merged
        assert f"mesh_agent_svid_expiry_seconds {SVID.not_after.timestamp():.0f}\n" in merged
        await runner.cleanup()
        merged = (await http.request(server, "GET", "/metrics")).body.decode()
        assert "mesh_agent_app_metrics_up 0\n" in merged
        assert (await http.request(server, "GET", "/drain")).status == 404
        assert (await http.request(server, "POST", "/live")).status == 405
        with pytest.raises(PortTakenError, match="readiness"):
            await web.serve(address, pages)


@pytest.mark.parametrize(
    "sent", [b"", b"GET\r\n\r\n", b"x" * 100_000, b"\r\n\r\n", b"GET / X\r\n\r\n"]
)
async def test_nonsense_gets_an_error_or_nothing_and_harms_nobody(
    sent: bytes, settings: AgentSettings
) -> None:
    address = ("127.0.0.1", free_port())
    pages = Readiness(Status(), ManualClock(NOW), settings).pages()
    async with await web.serve(address, pages):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
        assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0]
        assert (await http.request(http.Server(*address), "GET", "/live")).ok
