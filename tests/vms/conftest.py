"""What the tests on VMs share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.vms import host, wheels


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
