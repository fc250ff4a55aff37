"""What the tests of several zones stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.zones.bed import Bed, made
from tests.zones.network import Network


@pytest_asyncio.fixture
async def network() -> AsyncIterator[Network]:
    """Three zones with nothing in them."""
    async with Network() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    """Three federated zones for a module, which needs the same ``loop_scope``."""
    async with made(tmp_path_factory.mktemp("zones")) as found:
        yield found
