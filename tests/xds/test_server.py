"""The server against grpcio's own client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER
from mesh.model.proxies import GATEWAYS, METADATA_KEY, Upstream
from mesh.xds.call import MAX_UPSTREAMS, METHOD
from mesh.xds.limits import Limits
from mesh.xds.server import ListenError, XdsServer
from tests.waiting import until
from tests.xds.conftest import DOMAIN, WEB, ZONE, Book, Dial, Zone, need
from tests.xds.model import request, snapshot
from tests.xds.pki import Authority, Files

CONTENT = {CLUSTER: {"api": "1"}, ENDPOINTS: {"api": "1"}, LISTENER: {}}


async def test_snapshot_then_change_then_ack(zone: Zone, dial: Dial) -> None:
    zone.book.snapshot = snapshot(CONTENT)
    stream = dial()
    await stream.send(request(CLUSTER))
    clusters = await stream.read()
    assert [(one.name, one.version) for one in clusters.resources] == [("api", "1")]
    await stream.send(request(CLUSTER, nonce=clusters.nonce))
    await stream.send(request(ENDPOINTS, subscribe=["api"]))
    endpoints = await stream.read()
    await stream.send(request(ENDPOINTS, nonce=endpoints.nonce))
    await until(lambda: zone.server.proxies()[0].in_sync)

    zone.publish({**CONTENT, ENDPOINTS: {"api": "2"}})
    changed = await stream.read()
    assert [(one.name, one.version) for one in changed.resources] == [("api", "2")]
    assert not zone.server.proxies()[0].in_sync
    await stream.send(request(ENDPOINTS, nonce=changed.nonce))
    await until(lambda: zone.server.proxies()[0].in_sync)

    [status] = zone.server.proxies()
    assert status.identity == WEB
    assert status.need == need()
    assert status.node == "web/1"
    assert status.bytes_sent > 0
    assert zone.counts.pushed == zone.counts.acked == [CLUSTER, ENDPOINTS, ENDPOINTS]


async def test_refused_content_is_reported(
    zone: Zone, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    zone.book.snapshot = snapshot(CONTENT)
    stream = dial()
    await stream.send(request(CLUSTER))
    clusters = await stream.read()
    await stream.send(request(CLUSTER, nonce=clusters.nonce, error="no such filter"))
    await until(lambda: bool(zone.counts.nacked))
    [status] = zone.server.proxies()
    nack = status.types[0].nack
    assert nack is not None
    assert (nack.names, nack.reason) == (("api",), "no such filter")
    assert not status.in_sync
    assert "web/1 refused api; it keeps its last good version: no such filter" in caplog.text


async def test_two_changes_before_a_turn_are_sent_as_one(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    empty = await stream.read()
    await stream.send(request(CLUSTER, nonce=empty.nonce))
    await until(lambda: zone.counts.acked == [CLUSTER])
    zone.publish({CLUSTER: {"api": "1"}})
    zone.publish({CLUSTER: {"api": "2"}})
    changed = await stream.read()
    assert [(one.name, one.version) for one in changed.resources] == [("api", "2")]
    assert len(zone.counts.pushed) == 2


@pytest.mark.parametrize(
    ("metadata", "code", "words"),
    [
        (need("api").to_metadata(), "PERMISSION_DENIED", ["'api'", WEB.uri]),
        (need(zone="dc2").to_metadata(), "PERMISSION_DENIED", ["'dc2'", WEB.uri]),
        ({"service": "web", "zone": "dc1", "x": 1}, "INVALID_ARGUMENT", ["x: unknown field"]),
        *(
            (
                {"service": "web", "zone": "dc1", "role": role.value},
                "PERMISSION_DENIED",
                [f"a {role.value} as {WEB.uri}", "mesh-egress", "mesh-gateway"],
            )
            for role in GATEWAYS
        ),
        ({}, "INVALID_ARGUMENT", ["service: expected", "zone: expected"]),
    ],
)
async def test_metadata_must_agree_with_the_certificate(
    zone: Zone, dial: Dial, metadata: dict[str, object], code: str, words: list[str]
) -> None:
    stream = dial(metadata=metadata)
    await stream.send(request(CLUSTER))
    status, message = await stream.end()
    assert status == code
    for word in words:
        assert word in message
    assert zone.counts.refused == [code]
    assert not zone.book.sessions


async def test_a_proxy_hears_nothing_before_there_is_something_to_say(
    zone: Zone, dial: Dial
) -> None:
    """And loses nothing of what it holds from before when there is."""
    zone.book.snapshot = None
    stream = dial()
    first = request(CLUSTER)
    first.initial_resource_versions["api"] = "1"
    first.initial_resource_versions["gone"] = "1"
    await stream.send(first)
    await stream.send(request(ENDPOINTS, subscribe=["api"]))
    await until(lambda: len(zone.server.proxies()) == 1)
    assert not zone.counts.pushed
    assert not zone.server.proxies()[0].in_sync
    zone.publish({CLUSTER: {"api": "1"}, ENDPOINTS: {"api": "7"}})
    answers = {answer.type_url: answer for answer in (await stream.read(), await stream.read())}
    assert [one.version for one in answers[ENDPOINTS].resources] == ["7"]
    assert not answers[CLUSTER].resources
    assert list(answers[CLUSTER].removed_resources) == ["gone"]


async def test_what_was_asked_too_early_and_wrongly_ends_the_stream_with_the_reason(
    zone: Zone, dial: Dial
) -> None:
    zone.book.snapshot = None
    stream = dial()
    await stream.send(request(""))
    await until(lambda: bool(zone.book.sessions))
    zone.publish({CLUSTER: {"api": "1"}})
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "must not be empty" in message
    await until(lambda: not zone.book.sessions)


async def test_a_proxy_cannot_keep_the_zone_busy_for_thousands_of_upstreams(
    zone: Zone, dial: Dial
) -> None:
    many = tuple(Upstream(f"s{number}", number) for number in range(1, MAX_UPSTREAMS + 2))
    stream = dial(metadata=replace(need(), upstreams=many).to_metadata())
    await stream.send(request(CLUSTER))
    status, message = await stream.end()
    assert (status, "at most" in message) == ("INVALID_ARGUMENT", True)
    assert not zone.book.sessions


async def test_what_is_asked_before_there_is_an_answer_is_bounded(zone: Zone, dial: Dial) -> None:
    zone.book.snapshot = None
    stream = dial()
    names = [f"{number:01000}" for number in range(2000)]
    for turn in range(3):
        await stream.send(request(CLUSTER if turn else ENDPOINTS, subscribe=names))
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "before the first answer" in message
    await until(lambda: not zone.book.sessions)


@pytest.mark.parametrize("node", ["api/1", "api", "", "web", "web/", "web/" + "1" * 300])
async def test_a_proxy_is_listed_under_its_own_service(zone: Zone, dial: Dial, node: str) -> None:
    """Operators find a proxy by its node's id: nobody shall pass for another there."""
    stream = dial()
    first = request(CLUSTER)
    first.node.id = node
    first.node.metadata.update({METADATA_KEY: need().to_metadata()})
    await stream.call.write(first)
    status, message = await stream.end()
    assert status == "PERMISSION_DENIED"
    assert "must be 'web/<instance>'" in message
    assert not zone.book.sessions


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


async def test_directory_may_refuse(zone: Zone, dial: Dial) -> None:
    zone.book.refuse.add("web")
    stream = dial()
    await stream.send(request(CLUSTER))
    assert await stream.end() == (
        "PERMISSION_DENIED",
        "web is not registered: register it first",
    )


async def test_other_methods_are_not_served(zone: Zone, dial: Dial) -> None:
    stream = dial(method=METHOD.replace("Delta", "Stream"))
    assert (await stream.end())[0] == "UNIMPLEMENTED"
    assert zone.counts.refused == ["UNIMPLEMENTED"]


async def test_bytes_that_are_not_protobuf_end_the_stream(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.call.write(b"\xff\xff\xff")
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "malformed protobuf" in message
    assert zone.counts.refused == ["INVALID_ARGUMENT"]


async def test_a_client_that_half_closes_gets_ok(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
    await stream.call.done_writing()
    assert await stream.end() == ("OK", "")
    await until(lambda: not zone.book.sessions)


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


async def test_drop_ends_the_stream_with_the_reason(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
    [number] = zone.book.sessions
    assert zone.server.drop(number, "certificate revoked")
    assert await stream.end() == ("UNAVAILABLE", "certificate revoked")
    assert not zone.server.drop(number)


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
