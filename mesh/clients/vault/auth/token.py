"""Log in with a token at hand: what a person's environment holds while they prepare Vault."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.clients.vault.auth.method import Login, LoginTransport
from mesh.model.violations import Report


@dataclass(frozen=True, slots=True)
class Token:
    """The token itself."""

    value: str = field(repr=False)
    name: str = "token"

    def validate(self, report: Report) -> None:
        """Note an empty token."""
        if not self.value:
            report.add("value", "is empty; set VAULT_TOKEN, or name a file that holds the token")

    def authenticate(self, vault: LoginTransport) -> Login:
        """Ask how long the token lives."""
        return vault.look_up(self.value)
