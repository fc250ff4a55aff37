"""A certificate authority in memory, for zones that exist for one test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.model.identity import ZoneId

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AWAY = datetime(2099, 1, 1, tzinfo=UTC)


class Authority:
    """Signs for one trust domain."""

    def __init__(self, trust_domain: str) -> None:
        """Make a root."""
        self.trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root {trust_domain}")])
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self._name, self._key.public_key(), LONG_AGO, FAR_AWAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.root = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def leaf(
        self,
        *,
        uri: str,
        dns: str | None = None,
        validity: tuple[datetime, datetime] = (LONG_AGO, FAR_AWAY),
    ) -> tuple[str, str]:
        """Return a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        return self.certify(key.public_key(), uri=uri, dns=dns, validity=validity), private

    def zone(self, zone: str) -> tuple[str, str]:
        """Return a control plane's certificate and key."""
        identity = ZoneId(self.trust_domain, zone)
        return self.leaf(uri=identity.uri, dns=identity.server_name)

    def certify(
        self,
        key: CertificatePublicKeyTypes,
        *,
        uri: str,
        dns: str | None = None,
        validity: tuple[datetime, datetime],
    ) -> str:
        """Return a certificate for somebody's key."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        if dns is not None:
            names.append(x509.DNSName(dns))
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(x509.Name([]), key, *validity)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, key: CertificatePublicKeyTypes, start: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start.replace(tzinfo=None))
            .not_valid_after(end.replace(tzinfo=None))
        )


def in_hours(now: datetime, hours: float) -> datetime:
    """Return the moment ``hours`` from ``now``."""
    return now + timedelta(hours=hours)
