"""Log in with a JWT from a file: a Kubernetes ServiceAccount's, or any issuer's Vault trusts.

The ``kubernetes`` and the ``jwt`` methods of Vault take the same request; which one answers is a
matter of ``mount``.  The file is read at every login, because kubelet rotates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh.clients.vault.auth.method import Login, LoginTransport, read_secret, require
from mesh.model.violations import Report

SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class Jwt:
    """The role to take, the file that holds the JWT, and where the method is mounted."""

    role: str
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"
    name: str = "jwt"

    def validate(self, report: Report) -> None:
        """Note missing options."""
        require(report, "role", self.role, "mesh-zone")
        require(report, "token_file", self.token_file, str(SERVICE_ACCOUNT_TOKEN))
        require(report, "mount", self.mount, "kubernetes or jwt")

    def authenticate(self, vault: LoginTransport) -> Login:
        """Post the role and the JWT."""
        body = {"role": self.role, "jwt": read_secret(self.token_file, "JWT")}
        return vault.login(f"auth/{self.mount}/login", body)
