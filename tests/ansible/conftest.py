"""One set of hosts for all tests of the playbooks: each goes on where the one before ended."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.ansible import versions
from tests.ansible.estate import Estate, estate
from tests.vms import host, wheels


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def wheelhouse() -> AsyncIterator[Path]:
    """A wheelhouse with three versions of the mesh, and with pip, which a bare host lacks."""
    await host.remove_leftovers()
    directory = host.owned("ansible-wheelhouse")
    directory.mkdir(parents=True)
    await wheels.wheelhouse(directory)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    await host.run(*pip, "download", "--no-deps", "--dest", str(directory), "pip")
    versions.add(directory, versions.NEWER)
    versions.add(directory, versions.BROKEN, agent='raise SystemExit("broken on purpose")')
    yield directory
    host.discard(directory)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def bare(wheelhouse: Path) -> AsyncIterator[Estate]:
    """The estate, before the mesh."""
    async with estate() as made:
        made.variables["mesh_wheelhouse"] = str(wheelhouse)
        yield made
