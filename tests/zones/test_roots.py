"""Zones whose certificates come from roots of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mesh.clients.consul import ConsulClient
from mesh.model.intentions import Action, Intention
from tests.traffic.waiting import until
from tests.zones.bed import made

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def test_zones_with_roots_of_their_own_believe_each_other(tmp_path: Path) -> None:
    async with made(tmp_path, ("a", "b"), vault=False) as bed:
        a, b = bed.zones["a"], bed.zones["b"]
        async with ConsulClient(a.consul.address) as client:
            await client.config_put(
                {"Kind": "service-defaults", "Name": "Orders", "Protocol": "http"}
            )
            await client.intentions.put(Intention("web", "Orders", Action.ALLOW))
        await asyncio.gather(a.start_control_plane(), b.start_control_plane())
        roots = {zone.estate.bundle_file.read_text() for zone in (a, b)}
        assert len(roots) == 2
        await b.start_service("Orders")
        await a.start_caller("web", ["Orders"])
        await asyncio.gather(a.start_gateways(), b.start_gateways())
        await asyncio.gather(a.estate.ready(), b.estate.ready())

        async def answered() -> str | None:
            async with bed.session.get(a.url("web", "Orders")) as answer:
                return answer.headers.get("x-zone")

        # A name with a capital: hosts, and what callers ask gateways for, are in small letters.
        # Bundles are looked at once a minute.
        assert await until("Orders answers from b", answered, patience=75) == "b"
