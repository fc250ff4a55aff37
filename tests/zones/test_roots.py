"""Zones that sign with a root of their own, in one trust domain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mesh.clients.consul import ConsulClient
from tests.traffic.waiting import until
from tests.zones.bed import Zone, made
from tests.zones.estates import Three

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


async def test_calls_pass_between_zones_with_roots_of_their_own(tmp_path: Path) -> None:
    async with made(tmp_path, ("a", "b"), vault=False) as bed:
        a, b = bed.zones["a"], bed.zones["b"]
        async with ConsulClient(a.consul.address) as client:
            await client.config_put(
                {"Kind": "service-defaults", "Name": "orders", "Protocol": "http"}
            )
        await asyncio.gather(a.start_control_plane(), b.start_control_plane())
        await until("a trusts b", lambda: _roots(a), patience=40)
        await until("b trusts a", lambda: _roots(b), patience=40)
        await asyncio.gather(b.start_gateways(), b.start_service("orders"))
        await a.start_caller("web", ["orders"])
        await asyncio.gather(a.estate.ready(), b.estate.ready())
        await Three(bed).answers(a.url("web", "orders"), "b")


async def _roots(zone: Zone) -> bool | None:
    """Tell whether newcomers of ``zone`` are given both roots."""
    printed = await zone.estate.mesh(["ca", "bundle"])
    return True if printed.count("BEGIN CERTIFICATE") == 2 else None
