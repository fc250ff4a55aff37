"""Log in with an AppRole: a role id, which is no secret, and a secret id, which is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mesh.clients.vault.auth.method import Login, LoginTransport, read_secret, require
from mesh.model.violations import Report


@dataclass(frozen=True, slots=True)
class AppRole:
    """The file with the secret id, the role id or a file with it, and the method's mount."""

    secret_id_file: Path
    role_id: str = ""
    role_id_file: Path | None = None
    mount: str = "approle"
    name: str = "approle"

    def validate(self, report: Report) -> None:
        """Note missing options."""
        if bool(self.role_id) == bool(self.role_id_file):
            report.add("role_id", "exactly one of role_id and role_id_file is needed")
        require(report, "secret_id_file", self.secret_id_file, "/etc/mesh/secret-id")
        require(report, "mount", self.mount, "approle")

    def authenticate(self, vault: LoginTransport) -> Login:
        """Post both ids."""
        role = self.role_id
        if self.role_id_file is not None:
            role = read_secret(self.role_id_file, "AppRole's role id")
        secret = read_secret(self.secret_id_file, "AppRole's secret id")
        body = {"role_id": role, "secret_id": secret}
        return vault.login(f"auth/{self.mount}/login", body)
