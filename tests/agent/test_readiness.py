"""What the readiness port says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web as aioweb

from mesh.agent import http, web
from mesh.agent.admin import Condition
from mesh.agent.errors import PortTakenError
from mesh.agent.identity import Svid
from mesh.agent.readiness import Readiness, Status, missing
from mesh.aio.clock import ManualClock
from tests.agent.conftest import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVID = Svid("mesh.example", "dc1", "web", "0a", NOW, NOW + timedelta(hours=1), ())
LIVE = Condition("LIVE", 2)


@pytest.mark.parametrize(
    ("svid", "condition", "draining", "words"),
    [
        (SVID, LIVE, False, ()),
        (None, LIVE, False, ("enrolled",)),
        (SVID, None, False, ("envoy",)),
        (SVID, Condition("INITIALIZING", 0), False, ("INITIALIZING",)),
        (SVID, Condition("LIVE", 0), False, ("listener",)),
        (SVID, LIVE, True, ("draining",)),
        (None, None, True, ("draining", "enrolled", "envoy")),
    ],
)
def test_what_is_missing(
    svid: Svid | None, condition: Condition | None, words: tuple[str, ...], *, draining: bool
) -> None:
    reasons = missing(svid, condition, NOW, draining=draining)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_an_expired_certificate_is_missing() -> None:
    (reason,) = missing(SVID, LIVE, NOW + timedelta(hours=2), draining=False)
    assert "expired" in reason


async def test_the_pages() -> None:
    address = ("127.0.0.1", free_port())
    app_port = free_port()
    pages = Readiness(
        Status(svid=SVID), ManualClock(NOW), f"http://127.0.0.1:{app_port}/metrics"
    ).pages()

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
async def test_nonsense_gets_an_error_or_nothing_and_harms_nobody(sent: bytes) -> None:
    address = ("127.0.0.1", free_port())
    pages = Readiness(Status(), ManualClock(NOW), None).pages()
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
