"""A zone on loopback: a real Consul with ACLs, the builtin CA, and API servers over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh.ca.builtin import builtin_issuer
from mesh.ca.local import LocalIssuer
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.controlplane.rate_limit import Rate
from mesh.model.identity import ZoneId
from tests.controlplane.rollouts import Place, new_place
from tests.controlplane.zones import ApiServer, api_server
from tests.realconsul import RealConsul

ZONE = ZoneId("mesh.test", "dc1")


@pytest.fixture(scope="session")
def consul_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    with RealConsul(tmp_path_factory.mktemp("consul"), acls=True) as server:
        yield server


@pytest.fixture
async def consul(consul_server: RealConsul) -> AsyncIterator[ConsulClient]:
    """A client with all rights, and an empty mesh prefix before and after."""
    address = ConsulAddress(consul_server.url, token=consul_server.token)
    async with ConsulClient(address) as client:
        await client.kv_delete("mesh/", recurse=True)
        yield client
        await client.kv_delete("mesh/", recurse=True)


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[LocalIssuer]:
    made = builtin_issuer(tmp_path / "ca", ZONE)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def place(consul: ConsulClient) -> Place:
    return new_place(consul)


StartApi = Callable[..., Awaitable[ApiServer]]


@pytest.fixture
async def start_api(consul: ConsulClient, issuer: LocalIssuer) -> AsyncIterator[StartApi]:
    """Starts API servers that end with the test."""
    async with AsyncExitStack() as stack:

        async def start(
            *, issuer: LocalIssuer = issuer, per_source: Rate | None = None
        ) -> ApiServer:
            server = api_server(ZONE, issuer, consul, per_source=per_source)
            return await stack.enter_async_context(server)

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> ApiServer:
    return await start_api()
