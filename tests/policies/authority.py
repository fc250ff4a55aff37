"""A throw-away certificate authority for one test run."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_UNTIL: Final = _SINCE + timedelta(days=365 * 100)


class Authority:
    """Issue certificates into one directory, as PEM files."""

    def __init__(self, directory: Path) -> None:
        """Make the root, ``ca.pem``."""
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        root = self._certificate(self._name, self._key, constraints)
        self.root = directory / "ca.pem"
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def issue(self, label: str, uri: str) -> tuple[Path, Path]:
        """Return certificate and key files of one who is ``uri`` at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(uri), x509.IPAddress(ip_address("127.0.0.1"))]
        )
        certificate = self._certificate(x509.Name([]), key, names)
        cert_file, key_file = self._directory / f"{label}.pem", self._directory / f"{label}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file

    def client(self, label: str, uri: str) -> ssl.SSLContext:
        """Return a client's TLS context that presents ``uri``."""
        context = ssl.create_default_context(cafile=str(self.root))
        context.load_cert_chain(*self.issue(label, uri))
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_SINCE)
            .not_valid_after(_UNTIL)
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )
