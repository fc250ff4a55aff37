"""The Vault of the edge's tests: a real OpenBao with certificates for clients.

``secret`` is a key/value store, ``edge-pki`` signs for names below ``test``.  The gateway logs in
by AppRole with the policy of the guide.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.aio.clock import SystemClock
from tests.docs.blocks import GUIDES, blocks
from tests.realvault import RealVault

POLICY = next(block.text for block in blocks(GUIDES / "edge.md", "hcl"))
"""The least that the gateway needs, as the guide has it."""


@dataclass
class Vault:
    """The running server."""

    server: RealVault
    role_id: Path
    secret_id: Path
    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def address(self) -> str:
        """Its URL."""
        return self.server.address

    @property
    def clients(self) -> ssl.SSLContext:
        """What a client believes: our own authority, and the PKI's root."""
        context = ssl.create_default_context()
        context.load_verify_locations(
            cadata=self.root.public_bytes(serialization.Encoding.PEM).decode()
            + str(self.server.read("edge-pki/cert/ca").data["certificate"])
        )
        return context

    def put(self, path: str, *names: str) -> str:
        """Keep a certificate for ``names`` at ``path``; return its serial."""
        chain, key, serial = self.issued(names)
        body = {"data": {"certificate": chain, "private_key": key}}
        self.server.write(f"secret/data/{path}", body)
        return serial

    def issued(self, names: tuple[str, ...], *, lives: float = 3600) -> tuple[str, str, str]:
        """Return a certificate for ``names`` under our own authority, its key and its serial."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _signed(
            names[0], key, by=self.key, issuer=self.root.subject, names=names, lives=lives
        )
        return (
            leaf.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            f"{leaf.serial_number:x}",
        )

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Vault]:
        """Start it, and let the gateway in."""
        directory.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clients' CA")])
        root = _signed("Clients' CA", key, by=key, issuer=name, names=(), lives=86400)
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
            yield cls(server, role, secret, root, key)


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    by: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    names: tuple[str, ...],
    lives: float,
) -> x509.Certificate:
    now = SystemClock().now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=60))
        .not_valid_after(now + timedelta(seconds=lives))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        found = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(found, critical=False)
    return builder.sign(by, hashes.SHA256())
