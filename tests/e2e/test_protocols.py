"""Every protocol through two real proxies, and none of it for a stranger."""

from __future__ import annotations

import asyncio
import smtplib
import ssl

import aiohttp
import grpc
import httpx
import pytest
import redis.asyncio as redis

from mesh.demo.estate import HOST
from tests.e2e.applications import GREETER, STREAM
from tests.e2e.bed import STRANGER, Bed
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_http_1_1(bed: Bed) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(bed.url("shop", "/things?x=1"), json={"a": 1}) as answer,
    ):
        assert answer.status == 200
        seen = await answer.json()
    assert seen["method"] == "POST"
    assert seen["path"] == "/things?x=1"
    assert seen["version"] == "1.1"
    assert "x-envoy-upstream-service-time" not in seen["headers"]


async def test_http_2(bed: Bed) -> None:
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        answer = await client.get(bed.url("fast", "/quick"))
    assert answer.http_version == "HTTP/2"
    assert answer.text == "HTTP/2 /quick"


async def test_grpc_unary_and_streaming(bed: Bed) -> None:
    async with grpc.aio.insecure_channel(f"{HOST}:{bed.port('greeter')}") as channel:
        greeting = await channel.unary_unary(GREETER)(b"mesh")
        numbers = [part async for part in channel.unary_stream(STREAM)(b"5")]
    assert greeting == b"hello mesh"
    assert numbers == [b"0", b"1", b"2", b"3", b"4"]


async def test_websocket(bed: Bed) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(bed.url("shop", "/ws")) as socket,
    ):
        for number in range(3):
            await socket.send_str(str(number))
            assert (await socket.receive_str()) == f"echo {number}"


async def test_redis(bed: Bed) -> None:
    async with redis.Redis(host=HOST, port=bed.port("cache")) as client:
        assert await client.set("order", "espresso")
        assert await client.get("order") == b"espresso"


async def test_smtp_in_which_the_server_speaks_first(bed: Bed) -> None:
    def greet() -> tuple[int, bytes]:
        with smtplib.SMTP(HOST, bed.port("mail"), timeout=10) as client:
            return client.ehlo()

    code, words = await asyncio.to_thread(greet)
    assert code == 250
    assert words.startswith(b"mail.demo")


async def test_a_stranger_gets_a_403_that_says_what_to_do(bed: Bed) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(bed.url("shop", caller=STRANGER)) as answer,
    ):
        assert answer.status == 403
        words = await answer.text()
    assert "stranger may not call shop" in words
    assert "mesh intention allow stranger shop" in words


async def test_a_stranger_is_cut_off_on_tcp_and_the_log_says_why(bed: Bed) -> None:
    reader, writer = await asyncio.open_connection(HOST, bed.port("mail", caller=STRANGER))
    assert await reader.read(100) == b""
    writer.close()
    log = bed.estate.services[STRANGER].child.log

    async def logged() -> bool | None:
        return True if "stranger may not call mail" in log.read_text() else None

    # Envoy writes its access log every ten seconds at the latest.
    await until("the refusal is logged", logged)


async def test_a_stranger_who_goes_round_its_proxy_fails_in_the_handshake(bed: Bed) -> None:
    """With its own, genuine certificate; SMTP's greeting must not leak (see ADR 3)."""
    state = bed.estate.services[STRANGER].state
    context = ssl.create_default_context(cafile=str(bed.estate.bundle_file))
    context.check_hostname = False
    context.load_cert_chain(state / "svid.pem", state / "svid.key")
    port = bed.estate.services["mail"].inbound_port

    async def greeting() -> bytes:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        try:
            return await asyncio.wait_for(reader.read(100), 5)
        finally:
            writer.close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await greeting()


async def test_nobody_without_a_certificate_comes_in(bed: Bed) -> None:
    port = bed.estate.services["shop"].inbound_port
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
    assert await asyncio.wait_for(reader.read(100), 5) == b""
    writer.close()
