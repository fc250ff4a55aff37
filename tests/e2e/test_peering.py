"""Peers, as the guide has it: two real zones that share nothing, and calls between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.model.intentions import Action, Intention
from tests.e2e.peers import Peers, Side, exists, handshake, start_caller, two_zones
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def _listed(peers: Peers, side: Side) -> dict[str, dict[str, object]]:
    found = json.loads(await peers.mesh(side, "zone", "peer", "list", "-o", "json"))
    return {each["name"]: each for each in found}


async def _heard(peers: Peers, side: Side, other: str) -> None:
    async def ask() -> bool | None:
        found = (await _listed(peers, side))[other]
        return True if not found["error"] and found["imported"] else None

    await until(f"{side.name} hears {other}", ask, patience=40)


async def _reachable(side: Side, service: str) -> None:
    name = f"{service}.default.{side.name}.internal.{side.name}.example"

    async def ask() -> bool | None:
        return True if await handshake(side.gateway_port, name) else None

    await until(f"the gateway of {side.name} lets calls to {service} in", ask, patience=30)


async def test_two_organisations_become_peers_and_part(tmp_path: Path) -> None:
    async with two_zones(tmp_path) as peers:
        west, partner = peers.west, peers.partner
        assert not await handshake(west.gateway_port, "peering.zone.west.west.example")
        await _reachable(west, "db")

        # Introduced, as the guide has it.  The default of these Consul servers is to allow.
        await peers.follow_the_guide("zone peer create", "zone peer accept", "zone peer list")
        assert (peers.directory / "partner.token").stat().st_mode & 0o777 == 0o600
        assert set(await _listed(peers, west)) == {"partner"}
        assert (await _listed(peers, partner))["west"]["trust_domain"] == "west.example"
        code, _, error = await partner.estate.mesh_result(
            ["zone", "peer", "accept", str(peers.directory / "partner.token")]
        )
        assert code != 0
        assert "is a peer already" in error

        # Nothing is exported: not even the way to the door is there.
        async def shut() -> bool | None:
            name = "db.default.west.internal.west.example"
            return True if not await handshake(west.gateway_port, name) else None

        await until("the gateway lets nothing in", shut)
        await start_caller(peers)
        await peers.mesh(west, "apply", "-f", "exports.yaml")
        await _heard(peers, partner, "west")
        assert (await _listed(peers, partner))["west"]["imported"] == ["api"]
        await _reachable(west, "api")
        assert not await handshake(west.gateway_port, "db.default.west.internal.west.example")

        # Known and reachable, but nobody has let it in: nor does who is called so here.
        await west.consul.intentions.put(Intention("shop", "api", Action.ALLOW))
        await west.consul.intentions.put(Intention("*", "api", Action.ALLOW))
        assert "DENIED" in await peers.mesh(west, "explain", "shop@partner", "api")

        await peers.follow_the_guide("intention allow")
        await peers.answered(200)
        assert "ALLOWED" in await peers.follow_the_guide("explain")

        # Somebody else of theirs is let in by his own name, and by no other.
        allowed = peers.upstream
        await start_caller(peers, "other")
        await peers.mesh(west, "intention", "allow", "other@partner", "api")
        await peers.answered(200)
        await peers.mesh(west, "intention", "delete", "other@partner", "api")
        peers.upstream, other = allowed, peers.upstream

        # The news goes on after either control plane, or gateway, was away.
        for restart in (_restart_zone, _restart_gateway):
            await restart(west)
            await peers.answered(200)
        # What was open ended with the gateway, and nothing is opened anew.
        peers.upstream = other
        await peers.answered(0, 503)
        assert {await peers.status() for _ in range(10)} <= {0, 503}
        peers.upstream = allowed
        assert await peers.status() == 200
        await west.consul.config_put({"Kind": "service-defaults", "Name": "db", "Protocol": "http"})
        more = (peers.directory / "exports.yaml").read_text() + _MORE
        (peers.directory / "more.yaml").write_text(more)
        await peers.mesh(west, "apply", "-f", "more.yaml")

        async def told() -> bool | None:
            found = (await _listed(peers, partner))["west"]
            return True if found["imported"] == ["api", "db"] else None

        await until("partner is told of db, too", told, patience=40)

        # Forgotten: the callers are out, and nothing is left of it.
        await peers.follow_the_guide("zone peer forget")
        await peers.answered(0, 503)
        for side in (west, partner):
            for prefix in ("mesh/peers/", "mesh/exports/"):

                async def gone(side: Side = side, prefix: str = prefix) -> bool | None:
                    return True if not await exists(side.consul, prefix) else None

                await until(f"{prefix} of {side.name} is empty", gone, patience=30)


_MORE = """\
    - name: db
      consumers:
        - peer: partner
"""


async def _restart_zone(side: Side) -> None:
    assert side.estate.zone is not None
    await side.estate.zone.kill()
    await side.estate.start_zone()


async def _restart_gateway(side: Side) -> None:
    await side.gateway.stop()
    side.gateway = await side.start_gateway()
