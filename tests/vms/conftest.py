"""What the tests on VMs share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.vms import host, wheels

_PATIENCE: Final = 600
"""Seconds for a test that comes first, with a root file system and an environment to be made."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time to make what is then kept in the test cache."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_PATIENCE))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def wheelhouse() -> AsyncIterator[Path]:
    """A directory with wheels of the mesh, as the sources are now, and of all that it needs."""
    await host.remove_leftovers()
    directory = host.owned("wheelhouse")
    directory.mkdir(parents=True)
    yield await wheels.wheelhouse(directory)
    host.discard(directory)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh_layers(wheelhouse: Path) -> AsyncIterator[list[Path]]:
    """Layers for hosts on which the mesh is installed: ``hosts("web", layers=mesh_layers)``."""
    directory = host.owned("mesh")
    yield await wheels.layers(wheelhouse, directory)
    host.discard(directory)
