"""One real Consul for the client's tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient
from tests.realconsul import RealConsul


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    with RealConsul(tmp_path_factory.mktemp("consul")) as server:
        yield server


@pytest.fixture
async def client(consul: RealConsul) -> AsyncIterator[ConsulClient]:
    async with ConsulClient(ConsulAddress(consul.url)) as client:
        yield client
