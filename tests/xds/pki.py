"""A certificate authority for tests and benches: P-256 keys, files as ``ssl`` wants them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_START = datetime(2025, 1, 1, tzinfo=UTC)
_END = _START + timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs what it is asked to; its bundle is ``<directory>/bundle.pem``."""

    def __init__(self, directory: Path, name: str = "test root") -> None:
        """Make a root whose files go to ``directory``."""
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key.public_key(), _END)
        certificate = certificate.add_extension(
            x509.BasicConstraints(ca=True, path_length=1), critical=True
        ).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        self.bundle = directory / "bundle.pem"
        signed = certificate.sign(self._key, hashes.SHA256())
        self.bundle.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        *,
        end: datetime = _END,
        written: bytes = b"",
    ) -> Files:
        """Sign a certificate for a new key; ``written`` stands in for its names, as DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:60])])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(one) for one in dns]
        certificate = self._builder(subject, key.public_key(), end)
        certificate = (
            certificate.add_extension(
                x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, written)
                if written
                else x509.SubjectAlternativeName(names or [x509.DNSName("nobody")]),
                critical=False,
            )
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                # As X509-SVID asks for (section 4.3); Envoy's check of trust domains insists on it.
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=False,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        files = Files(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        signed = certificate.sign(self._key, hashes.SHA256())
        files.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def server_context(self, files: Files) -> ssl.SSLContext:
        """Return a server's settings that require a client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(self.bundle)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, files: Files | None) -> ssl.SSLContext:
        """Return a client's settings, with a certificate or without."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.bundle)
        context.set_alpn_protocols(["h2"])
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_START)
            .not_valid_after(end)
        )
