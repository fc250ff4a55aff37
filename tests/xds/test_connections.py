"""Connections to the server: with which certificates, how many, for how long, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER
from mesh.xds.limits import Limits
from mesh.xds.server import ListenError, XdsServer
from tests.waiting import until
from tests.xds.conftest import DOMAIN, WEB, ZONE, Book, Dial, Zone
from tests.xds.model import request
from tests.xds.pki import Authority, Files

CONTENT = {CLUSTER: {"api": "1"}, ENDPOINTS: {"api": "1"}, LISTENER: {}}


@pytest.mark.parametrize(
    ("uris", "words"),
    [
        ([], "0 URI names"),
        ([WEB.uri, "spiffe://mesh.test/ns/default/dc/dc1/svc/api"], "2 URI names"),
        ([ZONE.uri], "not a workload identity"),
        (["spiffe://other.test/ns/default/dc/dc1/svc/web"], "'other.test'"),
        (["spiffe://mesh.test/ns/default/dc/dc2/svc/web"], "zone 'dc2'"),
    ],
)
async def test_certificate_must_name_one_workload_of_this_zone(
    zone: Zone, dial: Dial, authority: Authority, uris: list[str], words: str
) -> None:
    stream = dial(authority.issue("odd", uris))
    status, message = await stream.end()
    assert status == "PERMISSION_DENIED"
    assert words in message
    assert not zone.book.sessions


async def test_without_a_certificate_there_is_no_connection(zone: Zone, dial: Dial) -> None:
    status, _ = await dial(None).end()
    assert status == "UNAVAILABLE"
    assert not zone.server.proxies()


async def test_bytes_that_are_not_tls_end_their_connection_only(zone: Zone, dial: Dial) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", zone.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    await writer.wait_closed()
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()


async def test_bytes_that_are_not_http2_end_their_connection(
    zone: Zone, authority: Authority, web: Files
) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        zone.port,
        ssl=authority.client_context(web),
        server_hostname=ZONE.server_name,
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n" * 10)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def test_close_sends_everybody_away(zone: Zone, dial: Dial) -> None:
    streams = [dial() for _ in range(3)]
    for stream in streams:
        await stream.send(request(CLUSTER))
        await stream.read()
    await zone.server.close(5)
    for stream in streams:
        status, message = await stream.end()
        assert status == "UNAVAILABLE"
        assert "shutting down" in message
    assert not zone.book.sessions


async def test_stream_ends_when_its_certificate_has_expired(
    zone: Zone, dial: Dial, authority: Authority
) -> None:
    end = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 - the TLS library's own clock
    stream = dial(authority.issue("short", [WEB.uri], end=end))
    await stream.send(request(CLUSTER))
    await stream.read()
    left = (end - zone.clock.now()).total_seconds()
    await zone.clock.advance(left + Limits().expiry_grace + 2)
    status, message = await stream.end()
    assert status == "UNAUTHENTICATED"
    assert "expired" in message


async def test_new_connections_use_the_newest_certificate(
    zone: Zone, dial: Dial, authority: Authority
) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
    zone.contexts.append(authority.server_context(authority.issue("z2", [], ["elsewhere"])))
    assert (await dial().end())[0] == "UNAVAILABLE"
    zone.publish({CLUSTER: {"api": "1"}})
    assert zone.server.proxies()


async def test_port_taken_says_so(authority: Authority, zone: Zone) -> None:
    other = XdsServer(Book(), lambda: zone.contexts[-1], trust_domain=DOMAIN, zone="dc1")
    with pytest.raises(ListenError, match=rf"127.0.0.1:{zone.port}: .*ss -ltnp"):
        await other.start("127.0.0.1", zone.port)


async def test_context_without_client_certificates_is_refused(
    authority: Authority, zone: Zone
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = XdsServer(Book(), lambda: context, trust_domain=DOMAIN, zone="dc1")
    with pytest.raises(ValueError, match="client certificate"):
        await server.start("127.0.0.1", 0)


async def test_idle_socket_is_closed_after_the_handshake_timeout(zone: Zone) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", zone.port)
    await until(lambda: zone.server.connections == 1)
    await zone.clock.advance(Limits().handshake_timeout + 1)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    await until(lambda: zone.server.connections == 0)


@pytest.mark.parametrize("limits", [Limits(max_handshakes=2)])
async def test_too_many_handshakes_are_turned_away(zone: Zone, dial: Dial) -> None:
    idle = [socket.create_connection(("127.0.0.1", zone.port)) for _ in range(2)]
    await until(lambda: zone.server.connections == 2)
    assert (await dial().end())[0] == "UNAVAILABLE"
    for one in idle:
        one.close()
    await until(lambda: zone.server.connections == 0)
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
