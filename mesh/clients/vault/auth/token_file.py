"""Log in with a token that somebody else writes to a file: an operator, or a Vault Agent.

A new login reads the file again, so whoever rotates it needs to tell nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mesh.clients.vault.auth.method import Login, LoginTransport, read_secret, require
from mesh.model.violations import Report


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The file that holds the token."""

    path: Path
    name: str = "token-file"

    def validate(self, report: Report) -> None:
        """Note a missing path."""
        require(report, "path", self.path, "/etc/mesh/vault-token")

    def authenticate(self, vault: LoginTransport) -> Login:
        """Read the token and ask how long it lives."""
        return vault.look_up(read_secret(self.path, "Vault token"))
