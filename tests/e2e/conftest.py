"""The estate that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.bed import Bed, made


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    """One estate for all tests of the package.

    It ends with them: each of its Envoys takes of what one user may watch (inotify).
    """
    async with made(tmp_path_factory.mktemp("estate")) as found:
        yield found
