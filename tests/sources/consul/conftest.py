"""A real Consul with ACLs, and what a test needs beside the source it looks at."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient
from tests.realconsul import RealConsul
from tests.sources.consul.recorder import Recorder


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    with RealConsul(tmp_path_factory.mktemp("consul"), acls=True) as server:
        yield server


@pytest.fixture
async def registrar(consul: RealConsul) -> AsyncIterator[ConsulClient]:
    """Yield a client that may do everything."""
    async with ConsulClient(ConsulAddress(consul.url, token=consul.token)) as client:
        yield client


@pytest.fixture
async def changes() -> Recorder:
    return Recorder()
