"""Framing and TLS: bytes in, bytes out, however they are cut."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.xds.grpc_framing import Decoder, Status, StatusError, frame, trailers
from mesh.xds.tls import TlsPipe
from tests.xds.conftest import ZONE
from tests.xds.pki import Authority, Files


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_messages_come_out_however_they_are_cut(messages: list[bytes], size: int) -> None:
    stream = b"".join(map(frame, messages))
    decoder = Decoder(1000)
    found: list[bytes] = []
    for start in range(0, len(stream), size):
        found += decoder.feed(stream[start : start + size])
    assert found == messages


def test_a_message_too_large_is_refused_before_it_has_come() -> None:
    with pytest.raises(StatusError, match="11 bytes refused") as caught:
        Decoder(10).feed(frame(bytes(11))[:5])
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(StatusError) as caught:
        Decoder(10).feed(b"\x01\x00\x00\x00\x00")
    assert caught.value.status is Status.UNIMPLEMENTED


def test_a_status_message_is_percent_encoded() -> None:
    fields = dict(trailers(Status.PERMISSION_DENIED, "50% of\nwéb"))
    assert fields == {"grpc-status": "7", "grpc-message": "50%25 of%0Aw%C3%A9b"}


def pipes(authority: Authority, web: Files, zone: Files) -> tuple[TlsPipe, TlsPipe]:
    client = TlsPipe(authority.client_context(web), server_name=ZONE.server_name)
    server = TlsPipe(authority.server_context(zone))
    client.handshake()
    while not (client.established and server.established):
        server.receive(client.outgoing())
        client.receive(server.outgoing())
    return client, server


def test_tls_carries_any_amount_both_ways(authority: Authority, web: Files) -> None:
    zone = authority.issue("pipe", [ZONE.uri], [ZONE.server_name])
    client, server = pipes(authority, web, zone)
    for size in (0, 1, 4096, 4097, 300_000):
        data = bytes(size)
        assert server.receive(client.send(data)) == data
        assert client.receive(server.send(data)) == data
    server.receive(client.close())
    assert server.closed


def test_tls_refuses_what_is_not_tls(authority: Authority) -> None:
    zone = authority.issue("pipe", [ZONE.uri], [ZONE.server_name])
    server = TlsPipe(authority.server_context(zone))
    with pytest.raises(ssl.SSLError):
        server.receive(b"GET / HTTP/1.1\r\n\r\n")
