"""Callers of a peer at a real Envoy: each trust domain is held to its own roots."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.demo.loopback import free_ports
from mesh.envoy import files
from mesh.envoy.resource import SECRET, Snapshot
from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Inbound as Place
from mesh.model.proxies import ProxyNeed
from mesh.model.zones import Zone as OtherZone
from mesh.render.renderer import Renderer
from mesh.world.changes import IntentionsChanged
from mesh.world.reduce import reduce
from mesh.world.snapshot import World
from tests.waiting import until
from tests.xds.conftest import DOMAIN, Zone
from tests.xds.following import following
from tests.xds.pki import Authority, Files

pytestmark = pytest.mark.e2e

_THEIRS = "partner.test"
_ALLOWED = (
    Intention("web", "api", Action.ALLOW),
    Intention("shop@partner", "api", Action.ALLOW),
)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


class Callee:
    """The proxy of ``api``, whose zone has a peer."""

    def __init__(self, zone: Zone, directory: Path) -> None:
        """Make the peer's authority below ``directory``."""
        self.zone = zone
        theirs = directory / "theirs"
        theirs.mkdir()
        self.theirs = Authority(theirs)
        self.port, self.application = free_ports(2)
        partner = OtherZone("partner", _THEIRS, self.theirs.bundle.read_text(), peer=True)
        world, _ = reduce(World("dc1", DOMAIN), IntentionsChanged.of(_ALLOWED))
        self.world = replace(world, zones={"partner": partner})

    def publish(self, world: World) -> Snapshot:
        """Give Envoy the inbound side as ``world`` has it."""
        place = Place("127.0.0.1", self.port, "127.0.0.1", self.application)
        made = Renderer(world).connect(1, ProxyNeed("api", "dc1", place))
        self.zone.book.snapshot = made
        self.zone.server.publish(dict.fromkeys(self.zone.book.sessions, made))
        return made

    async def admits(self, authority: Authority, proof: Files) -> bool:
        """Tell whether whoever shows ``proof`` is answered; the server is not looked at."""
        context = authority.client_context(proof)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
            writer.write(b"hello\n")
            async with asyncio.timeout(5):
                answered = await reader.readline() == b"hello\n"
            writer.close()
        except OSError:
            return False
        return answered


@pytest.fixture
async def callee(
    zone: Zone, web: Files, authority: Authority, tmp_path: Path
) -> AsyncIterator[Callee]:
    found = Callee(zone, tmp_path)
    found.publish(found.world)
    async with (
        await asyncio.start_server(_echo, "127.0.0.1", found.application),
        following(zone, web, authority, tmp_path),
    ):
        yield found


def _called(authority: Authority, domain: str, zone: str, service: str) -> Files:
    uri = WorkloadId(domain, zone, service).uri
    return authority.issue(f"{domain}-{zone}-{service}", [uri])


async def _until(callee: Callee, authority: Authority, proof: Files, *, admitted: bool) -> None:
    for _ in range(500):
        if await callee.admits(authority, proof) is admitted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not in ten seconds")


async def test_each_trust_domain_is_held_to_its_own_roots(
    callee: Callee, authority: Authority, web: Files
) -> None:
    theirs = callee.theirs
    shop = _called(theirs, _THEIRS, "partner", "shop")
    await _until(callee, theirs, shop, admitted=True)
    assert await callee.admits(authority, web)
    # Our word for one of theirs, and theirs for one of ours.
    assert not await callee.admits(authority, _called(authority, _THEIRS, "partner", "shop"))
    assert not await callee.admits(theirs, _called(theirs, DOMAIN, "dc1", "web"))
    # A service that is called as one of ours that may; one of another zone of theirs.
    assert not await callee.admits(theirs, _called(theirs, _THEIRS, "partner", "web"))
    assert not await callee.admits(theirs, _called(theirs, _THEIRS, "other", "shop"))
    assert not await callee.admits(authority, _called(authority, DOMAIN, "dc1", "shop"))
    assert not callee.zone.counts.nacked


async def test_our_own_roots_rotate_though_there_is_a_peer(
    callee: Callee, authority: Authority, tmp_path: Path
) -> None:
    await _until(
        callee, callee.theirs, _called(callee.theirs, _THEIRS, "partner", "shop"), admitted=True
    )
    (tmp_path / "next").mkdir()
    following_root = Authority(tmp_path / "next", "next root")
    fresh = _called(following_root, DOMAIN, "dc1", "web")
    assert not await callee.admits(following_root, fresh)
    staged = tmp_path / "bundle.new"
    staged.write_text(authority.bundle.read_text() + following_root.bundle.read_text())
    os.replace(staged, tmp_path / files.BUNDLE_FILE)  # noqa: PTH105 - what the agent does
    await _until(callee, following_root, fresh, admitted=True)


async def test_a_peers_roots_rotate_and_a_peer_ends(callee: Callee, tmp_path: Path) -> None:
    shop = _called(callee.theirs, _THEIRS, "partner", "shop")
    await _until(callee, callee.theirs, shop, admitted=True)
    (tmp_path / "next").mkdir()
    following_root = Authority(tmp_path / "next", "next root")
    fresh = _called(following_root, _THEIRS, "partner", "shop")
    partner = callee.world.zones["partner"]
    both = partner.bundle + following_root.bundle.read_text()
    callee.publish(replace(callee.world, zones={"partner": replace(partner, bundle=both)}))
    await _until(callee, following_root, fresh, admitted=True)
    assert await callee.admits(callee.theirs, shop)
    made = callee.publish(replace(callee.world, zones={}))
    await _until(callee, callee.theirs, shop, admitted=False)
    assert b"spiffe" not in made[SECRET][0].wire.replace(b"spiffe://", b"")
    await until(lambda: all(one.in_sync for one in callee.zone.server.proxies()))
    assert not callee.zone.counts.nacked
