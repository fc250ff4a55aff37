"""Every example of the reference is applied to running proxies, which take it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.policies.registry import KINDS
from tests.traffic.bed import Bed

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def canary(bed: Bed) -> AsyncIterator[None]:
    """The service of its own that examples try a new version under; it speaks what ``api`` does."""
    name = "api-canary"
    await bed.consul.config_put({"Kind": "service-defaults", "Name": name, "Protocol": "http"})
    yield
    await bed.consul.config_delete("service-defaults", name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("canary")
async def test_the_example_of(kind: str, bed: Bed) -> None:
    before = await _refusals(bed)
    await bed.apply(KINDS[kind].example)
    assert await _refusals(bed) == before
    assert (await bed.call(service="spare")).status == 200


async def _refusals(bed: Bed) -> int:
    """Return how often a proxy has refused what it was sent."""
    proxies = (await bed.proxies()).values()
    return sum(kind["nacks"] for one in proxies for kind in one["types"])
