"""Vault's policies let the token sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mesh.ca.vault_layout import Mode
from mesh.ca.vault_sign import WORKLOAD_ROLE, ZONE_ROLE
from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.clients.vault import VaultClient, VaultForbiddenError
from mesh.clients.vault.errors import stanza


class VaultPolicy:
    """Asks Vault what the token may do at the PKI mount."""

    title = "Vault's policy"
    vital = False

    def __init__(self, vault: VaultClient, mount: str, mode: Mode) -> None:
        """Check signing at ``mount``, in the way of ``mode``."""
        self._vault = vault
        self._paths = signing_paths(mount, mode)

    async def run(self) -> Sequence[Finding]:
        """Compare what is allowed with what a zone does."""
        try:
            answer = await self._vault.write("sys/capabilities-self", {"paths": list(self._paths)})
        except VaultForbiddenError as error:
            remedy = f"To see it, add to the token's policy:\n{error.stanza}"
            return [warning("Vault does not tell this token what it may do", remedy)]
        return judge(self._paths, answer.data)


def signing_paths(mount: str, mode: Mode) -> tuple[str, ...]:
    """Return where a zone writes to have certificates signed."""
    if mode is Mode.VAULT:
        return (f"{mount}/root/sign-intermediate",)
    return (f"{mount}/sign/{WORKLOAD_ROLE}", f"{mount}/sign/{ZONE_ROLE}")


def judge(paths: Sequence[str], capabilities: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Name each path where the token may not write."""
    missing = [path for path in paths if not {"update", "root"} & set(capabilities.get(path) or ())]
    if not missing:
        return [ok("the token may have certificates signed")]
    return [
        failure(
            f"the token may not write to {path}",
            "Run `mesh vault setup`, or add to its policy:\n" + stanza(path, ("update",)).strip(),
        )
        for path in missing
    ]
