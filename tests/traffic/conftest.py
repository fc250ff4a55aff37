"""The estate that the traffic tests share; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.traffic.bed import Bed, made
from tests.traffic.callee import Authorizer, Limiter, authorizing, limiting


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def estate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    """One estate for all tests of the package.

    It ends with them: each of its Envoys takes of what one user may watch (inotify).
    """
    async with made(tmp_path_factory.mktemp("traffic")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def bed(estate: Bed) -> AsyncIterator[Bed]:
    """The estate, without what an earlier test applied."""
    yield estate
    await estate.reset()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limiter(estate: Bed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Limiter]:
    """The rate limit service, as a service of the estate."""
    async with limiting(estate, tmp_path_factory.mktemp("ratelimit")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def authorizer(estate: Bed) -> AsyncIterator[Authorizer]:
    """The authorization service, as two services of the estate."""
    async with authorizing(estate) as found:
        yield found
