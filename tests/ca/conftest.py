"""One OpenBao for the room; every test has mounts of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.clients.vault import TokenFile, VaultClient
from tests.realvault import RealVault

_numbers = itertools.count()


@pytest.fixture(scope="session")
def vault() -> Iterator[RealVault]:
    with RealVault.running() as running:
        yield running


@pytest.fixture
def mount(vault: RealVault) -> str:
    """Return a PKI mount with a root that lives a year."""
    path = f"pki{next(_numbers)}"
    vault.write(f"sys/mounts/{path}", {"type": "pki", "config": {"max_lease_ttl": "8760h"}})
    vault.write(
        f"{path}/root/generate/internal",
        {"common_name": "root", "issuer_name": "mesh-root", "key_type": "ec", "ttl": "8760h"},
    )
    return path


@pytest.fixture
def client(vault: RealVault, tmp_path: Path) -> VaultClient:
    """Return a client with the root token, not started."""
    file = tmp_path / "token"
    file.write_text(vault.root_token)
    return VaultClient(vault.settings, TokenFile(file))
