"""One OpenBao for the room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.realvault import RealVault


@pytest.fixture(scope="session")
def vault() -> Iterator[RealVault]:
    with RealVault.running() as running:
        running.write("sys/auth/approle", {"type": "approle"})
        yield running
