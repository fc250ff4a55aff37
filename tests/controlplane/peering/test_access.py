"""What a peer can ask for, what anybody else can by the peering's names, and who is dialled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca import tls
from mesh.ca.bundle import TrustBundle
from mesh.ca.issuer import Credentials
from mesh.controlplane.peering.dialling import PeerError, ask
from mesh.controlplane.peering.following import DOCUMENT
from mesh.controlplane.peering.office import ESTABLISH
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.zones import Gateway
from tests.controlplane.peering.sides import Side, Sides
from tests.controlplane.zones import ADMIN_TOKEN
from tests.xds.pki import Authority


async def _asked(
    west: Side, by: str, credentials: Credentials | None, method: str, path: str, **more: Any
) -> int:
    """Ask ``west`` by its name of the peering; return the status of the answer."""
    context = tls.client_context(west.issuer.bundle(), credentials)
    context.check_hostname = False
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.request(
            method,
            f"https://127.0.0.1:{west.api.port}{path}",
            server_hostname=west.zone.peering_name(by),
            **more,
        ) as answer,
    ):
        return answer.status


def _forged(authority: Authority, identity: str) -> Credentials:
    """Let ``authority`` sign for anybody whatever."""
    files = authority.issue("forged", [identity])
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = files.certificate.read_text()
    leaf = x509.load_pem_x509_certificate(chain.encode())
    return Credentials(chain, key, "1", leaf.not_valid_before_utc, leaf.not_valid_after_utc)


async def test_whom_the_token_does_not_name_is_not_spoken_to(sides: Sides, copy: Side) -> None:
    west, partner = sides.west, sides.partner
    for zone, bundle in (
        (west.zone, partner.issuer.bundle()),
        (ZoneId("west.example", "other"), west.issuer.bundle()),
    ):
        with pytest.raises(PeerError, match="no answer"):
            await ask([west.gateway], zone, bundle, "POST", ESTABLISH, body={})
    with pytest.raises(PeerError, match=r"copy.*answers, where"):
        await ask(
            [copy.gateway],
            ZoneId("west.example", "west"),
            copy.issuer.bundle(),
            "POST",
            ESTABLISH,
            body={},
        )


async def test_whose_certificate_is_odd_is_not_spoken_to(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    # A name of a kind that nobody reads (x400Address), below the very root that is believed.
    files = authority.issue("odd", written=bytes.fromhex("3002a300"))
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=authority.server_context(files)
    )
    async with server:
        gateway = Gateway("127.0.0.1", server.sockets[0].getsockname()[1])
        bundle = TrustBundle.parse(authority.bundle.read_text(), "west.example")
        with pytest.raises(PeerError, match="its certificate is odd"):
            await ask([gateway], ZoneId("west.example", "west"), bundle, "GET", DOCUMENT)


async def test_a_peers_word_counts_for_nothing_else(sides: Sides, tmp_path: Path) -> None:
    west, partner = await sides.peered()
    # The peer's authority signs whatever it likes.
    authority = Authority(tmp_path)
    peer = west.api.view.world.zones["partner"]
    await west.know(replace(peer, bundle=authority.bundle.read_text()))
    identity = _forged(authority, partner.zone.uri)
    for who in (
        WorkloadId("west.example", "west", "web").uri,
        WorkloadId("partner.example", "partner", "web").uri,
        west.zone.uri,
        ZoneId("partner.example", "other").uri,
    ):
        false = _forged(authority, who)
        assert await _asked(west, "partner", false, "GET", DOCUMENT) == 401
        assert await _asked(west, "partner", false, "POST", "/v1/renew", json={}) == 404
        with pytest.raises(aiohttp.ClientError):
            await west.api.call("POST", "/v1/renew", json={}, credentials=false)
    # By the name of the peering there is nothing else, not for an administrator either.
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for by, shown in (("partner", identity), ("", None)):
        for method, path in (("GET", "/v1/status"), ("GET", "/v1/bundle"), ("GET", "/v1/peers")):
            assert await _asked(west, by, shown, method, path, headers=admin) == 404
    assert await _asked(west, "partner", None, "POST", ESTABLISH, json={}) == 404
    assert await _asked(west, "", None, "GET", DOCUMENT) == 404
    # By the zone's own name there is no peering.
    assert (await west.api.call("GET", DOCUMENT)).status == 404
    assert (await west.api.call("POST", ESTABLISH, json={})).status == 404


async def test_only_the_peer_itself_is_told(sides: Sides) -> None:
    west, partner = await sides.peered()
    ours, theirs = await west.issuer.zone_identity(), await partner.issuer.zone_identity()
    await west.say("partner", "api")
    assert await _asked(west, "partner", theirs, "GET", DOCUMENT) == 200
    for by, shown in (("partner", ours), ("stranger", theirs)):
        with pytest.raises(aiohttp.ClientError):
            await _asked(west, by, shown, "GET", DOCUMENT)
    assert await _asked(west, "partner", None, "GET", DOCUMENT) == 401
    await west.know()
    with pytest.raises(aiohttp.ClientError):
        await _asked(west, "partner", theirs, "GET", DOCUMENT)
