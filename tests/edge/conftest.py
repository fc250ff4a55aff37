"""The estate that the edge's tests share; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.model.intentions import Action
from tests.edge.bed import Bed, made


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def estate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    """One estate for all tests of the package.

    It ends with them: each of its Envoys takes of what one user may watch (inotify).
    """
    async with made(tmp_path_factory.mktemp("edge")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def bed(estate: Bed) -> AsyncIterator[Bed]:
    """The estate, without what an earlier test said."""
    yield estate
    for service in ("api", "web", "store"):
        await estate.intention(Action.ALLOW, service)
    await estate.reset()
