"""Two zones that share nothing, and one that has the trust domain of another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model.identity import ZoneId
from tests.controlplane.peering.sides import Side, Sides, started
from tests.realconsul import RealConsul


@pytest.fixture(scope="package")
def consul_of_partner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    with RealConsul(tmp_path_factory.mktemp("partner"), datacenter="partner") as server:
        yield server


@pytest.fixture
async def sides(
    consul: ConsulClient, consul_of_partner: RealConsul, tmp_path: Path
) -> AsyncIterator[Sides]:
    async with AsyncExitStack() as stack:
        theirs = ConsulClient(ConsulAddress(consul_of_partner.url))
        await stack.enter_async_context(theirs)
        await theirs.kv_delete("mesh/", recurse=True)
        west, partner = [
            await stack.enter_async_context(
                started(ZoneId(f"{name}.example", name), store, tmp_path / name)
            )
            for name, store in (("west", consul), ("partner", theirs))
        ]
        yield Sides(west, partner)


@pytest.fixture
async def copy(sides: Sides, tmp_path: Path) -> AsyncIterator[Side]:
    """A zone of another name that has the trust domain of ``west``."""
    zone = ZoneId("west.example", "copy")
    # No record of it meets one of partner's own.
    async with started(zone, sides.partner.consul, tmp_path / "copy") as side:
        yield side
