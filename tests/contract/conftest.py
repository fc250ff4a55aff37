"""The two servers, each started once, and the fixture that runs a test against both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from mesh.embedded.core import NODE_NAME
from tests.contract.api import Api
from tests.contract.servers import EMBEDDED, REAL
from tests.embedded.process import EmbeddedProcess
from tests.realconsul import RealConsul


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="session")
def embedded(home: Path) -> Iterator[EmbeddedProcess]:
    with EmbeddedProcess(home / "embedded") as process:
        yield process


@pytest.fixture(scope="session")
def real(home: Path) -> Iterator[RealConsul]:
    with RealConsul(home, config={"session_ttl_min": "500ms"}) as consul:
        yield consul


@pytest.fixture(params=[EMBEDDED, REAL])
async def consul_api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """An API; parametrise with ``indirect`` where only one dialect has the feature."""
    if request.param == EMBEDDED:
        process: EmbeddedProcess = request.getfixturevalue("embedded")
        url, node = process.url, NODE_NAME
    else:
        consul: RealConsul = request.getfixturevalue("real")
        url, node = consul.url, consul.node_name
    async with aiohttp.ClientSession() as session:
        yield Api(session, url, node)
