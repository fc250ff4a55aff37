"""Contexts from credentials in memory: real handshakes over loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.ca.builtin import builtin_issuer
from mesh.ca.issuer import Credentials, Issuer
from mesh.ca.tls import (
    PeerIdentityError,
    client_context,
    load_credentials,
    peer_workload,
    server_context,
)
from tests.ca.making import WEB, ZONE, checked, p256, svid


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    issuer = builtin_issuer(tmp_path / "ca", ZONE)
    await issuer.start()
    yield issuer
    await issuer.close()


async def _svid(issuer: Issuer) -> Credentials:
    key = p256()
    return svid(await issuer.sign(checked(WEB, key), timedelta(hours=1)), key)


async def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Return what the server knows of the client, and the TLS version."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        try:
            peer = peer_workload(writer.get_extra_info("ssl_object"))
            said = peer.uri if peer else "nobody"
        except PeerIdentityError as error:
            said = f"refused: {error}"
        writer.write(f"{said}\n".encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=ZONE.server_name
        )
        try:
            writer.write(b"\n")
            said = (await reader.readline()).decode().strip()
            if not said:
                # In TLS 1.3 a server refuses after the client believes to be connected.
                raise ConnectionError("closed without an answer")
            return said, writer.get_extra_info("ssl_object").version()
        finally:
            writer.close()


async def test_a_workload_is_known_by_its_certificate(issuer: Issuer) -> None:
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=True)
    client = client_context(issuer.bundle(), await _svid(issuer))
    assert await _handshake(server, client) == (WEB.uri, "TLSv1.3")


async def test_a_client_may_go_without_where_that_is_allowed(issuer: Issuer) -> None:
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=False)
    assert (await _handshake(server, client_context(issuer.bundle())))[0] == "nobody"


async def test_a_client_must_not_go_without_where_it_is_required(issuer: Issuer) -> None:
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=True)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _handshake(server, client_context(issuer.bundle()))


async def test_a_zone_is_no_workload(issuer: Issuer) -> None:
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=True)
    client = client_context(issuer.bundle(), await issuer.zone_identity())
    said, _ = await _handshake(server, client)
    assert "exactly one URI" in said


async def test_a_server_that_is_not_the_zone_is_refused(issuer: Issuer) -> None:
    server = server_context(await _svid(issuer), issuer.bundle(), require_client=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        await _handshake(server, client_context(issuer.bundle()))


async def test_older_tls_is_refused(issuer: Issuer) -> None:
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=False)
    client = client_context(issuer.bundle())
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _handshake(server, client)


async def test_a_context_in_use_takes_new_credentials(issuer: Issuer, tmp_path: Path) -> None:
    other = builtin_issuer(tmp_path / "other", ZONE)
    await other.start()
    server = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=False)
    load_credentials(server, await other.zone_identity())
    assert (await _handshake(server, client_context(other.bundle())))[0] == "nobody"
    await other.close()
