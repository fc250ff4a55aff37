"""A fake Vault for each test, a real one for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mesh.aio.clock import ManualClock
from tests.agent.certificates.fakevault import FakeVault
from tests.realvault import RealVault


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def vault(clock: ManualClock, tmp_path: Path) -> AsyncIterator[FakeVault]:
    async with FakeVault.running(clock, tmp_path) as fake:
        yield fake


@pytest.fixture(scope="package")
def real() -> Iterator[RealVault]:
    with RealVault.running() as running:
        yield running
