"""Vault answers and is unsealed."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok
from mesh.clients.vault import VaultClient


class VaultUnsealed:
    """Logs in, and asks for the seal."""

    title = "Vault answers"
    vital = True

    def __init__(self, vault: VaultClient) -> None:
        """Ask ``vault``, which need not be started."""
        self._vault = vault

    async def run(self) -> Sequence[Finding]:
        """Look at the seal."""
        answer = await self._vault.read("sys/seal-status")
        version = str(answer.data.get("version", ""))
        if answer.data.get("sealed"):
            remedy = "Unseal it: `vault operator unseal`."
            return [failure(f"Vault at {self._vault.address} is sealed", remedy)]
        return [ok(f"Vault {version} at {self._vault.address} is unsealed, and takes the token")]
