"""The Vault of the edge's tests: a real OpenBao with certificates for clients.

``secret`` is a key/value store, ``edge-pki`` signs for names below ``test``.  The gateway logs in
by AppRole with the policy of the guide.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.docs.blocks import GUIDES, blocks
from tests.realvault import RealVault
from tests.xds.pki import Authority

POLICY = next(block.text for block in blocks(GUIDES / "edge.md", "hcl"))
"""The least that the gateway needs, as the guide has it."""


@dataclass
class Vault:
    """The running server."""

    server: RealVault
    role_id: Path
    secret_id: Path
    authority: Authority

    @property
    def address(self) -> str:
        """Its URL."""
        return self.server.address

    @property
    def clients(self) -> ssl.SSLContext:
        """What a client believes: our own authority, and the PKI's root."""
        context = ssl.create_default_context()
        context.load_verify_locations(
            cadata=self.authority.bundle.read_text()
            + str(self.server.read("edge-pki/cert/ca").data["certificate"])
        )
        return context

    def put(self, path: str, *names: str) -> str:
        """Keep a certificate for ``names`` at ``path``; return its serial."""
        files = self.authority.issue(path.replace("/", "-"), dns=names)
        chain = files.certificate.read_text()
        body = {"data": {"certificate": chain, "private_key": files.key.read_text()}}
        self.server.write(f"secret/data/{path}", body)
        return f"{x509.load_pem_x509_certificate(chain.encode()).serial_number:x}"

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Vault]:
        """Start it, and let the gateway in."""
        directory.mkdir()
        with RealVault.running() as server:
            server.write("sys/mounts/edge-pki", {"type": "pki"})
            server.write("edge-pki/root/generate/internal", {"common_name": "Edge", "ttl": "24h"})
            allowed = {
                "allowed_domains": "test,example.com",
                "allow_subdomains": True,
                "max_ttl": "1h",
                "key_type": "ec",
            }
            server.write("edge-pki/roles/edge", {**allowed, "allow_wildcard_certificates": True})
            server.write("sys/policies/acl/edge", {"policy": POLICY})
            server.write("sys/auth/approle", {"type": "approle"})
            server.write("auth/approle/role/edge", {"token_policies": "edge", "token_ttl": "1h"})
            role = directory / "role-id"
            role.write_text(server.read("auth/approle/role/edge/role-id").data["role_id"])
            secret = directory / "secret-id"
            made = server.write("auth/approle/role/edge/secret-id")
            secret.write_text(made.data["secret_id"])
            yield cls(server, role, secret, Authority(directory, "Clients' CA"))
