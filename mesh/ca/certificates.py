"""Certificates as the mesh writes them: roots, intermediates, leaves.  No I/O.

Identity stands in one place, the URI SAN (SPIFFE X509-SVID, section 2); subjects of leaves are
empty, and the SAN is therefore critical (RFC 5280, section 4.2.1.6).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.ca.csr import PublicKey

CLOCK_SKEW: Final = timedelta(seconds=30)
"""How far back a certificate is dated, for peers whose clocks are behind."""
_SERIAL_BITS: Final = 128


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate with its key, and the way from it to its root.

    ``chain`` starts with the certificate that signs and ends below the root; it is empty when
    the root itself signs.
    """

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate whose key signs."""
        return self.chain[0] if self.chain else self.root

    @property
    def not_before(self) -> datetime:
        """When the whole way up to the root begins to be valid."""
        return max(each.not_valid_before_utc for each in (*self.chain, self.root))

    @property
    def not_after(self) -> datetime:
        """When the first certificate on the way up expires, the root included."""
        return min(each.not_valid_after_utc for each in (*self.chain, self.root))


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make an EC P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def root(
    key: ec.EllipticCurvePrivateKey, trust_domain: str, now: datetime, ttl: timedelta
) -> x509.Certificate:
    """Make a self-signed root of ``trust_domain``."""
    name = _name(f"mesh root {trust_domain}")
    builder = _builder(name, name, key.public_key(), now - CLOCK_SKEW, now + ttl)
    builder = _ca(builder, None, trust_domain)
    return builder.sign(key, hashes.SHA256())


def intermediate_csr(
    key: ec.EllipticCurvePrivateKey, common_name: str, trust_domain: str
) -> x509.CertificateSigningRequest:
    """Make the request for an intermediate that signs leaves only."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(common_name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(_trust_domain_san(trust_domain), critical=False)
        .sign(key, hashes.SHA256())
    )


def intermediate(
    authority: Authority,
    csr: x509.CertificateSigningRequest,
    trust_domain: str,
    now: datetime,
    ttl: timedelta,
) -> x509.Certificate:
    """Sign an intermediate that lives no longer than ``authority``."""
    key = csr.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        msg = "an intermediate's key is EC"
        raise TypeError(msg)
    begin, end = _validity(authority, now, ttl)
    issuer = authority.certificate
    builder = _builder(csr.subject, issuer.subject, key, begin, end)
    builder = _ca(builder, 0, trust_domain)
    return _signed(builder, authority)


def leaf(
    authority: Authority,
    public_key: PublicKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
    ttl: timedelta,
) -> x509.Certificate:
    """Sign a leaf for ``names``, for client and server, no longer than ``authority`` lives."""
    begin, end = _validity(authority, now, ttl)
    builder = _builder(x509.Name([]), authority.certificate.subject, public_key, begin, end)
    builder = (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
    )
    return _signed(builder, authority)


def serial(certificate: x509.Certificate) -> str:
    """Write the serial number as hex, two digits a byte."""
    digits = f"{certificate.serial_number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _signed(builder: x509.CertificateBuilder, authority: Authority) -> x509.Certificate:
    issuer = authority.certificate
    try:
        subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    except x509.ExtensionNotFound:
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return builder.add_extension(aki, critical=False).sign(authority.key, hashes.SHA256())


def _validity(authority: Authority, now: datetime, ttl: timedelta) -> tuple[datetime, datetime]:
    begin = max(now - CLOCK_SKEW, authority.not_before)
    # X.509 counts whole seconds; never round up past what was asked.
    return begin.replace(microsecond=0), min(now + ttl, authority.not_after).replace(microsecond=0)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        # A positive number of 128 random bits; zero is not a serial.
        .serial_number(secrets.randbits(_SERIAL_BITS) or 1)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca(
    builder: x509.CertificateBuilder, path_length: int | None, trust_domain: str
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=path_length), critical=True
        )
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(_trust_domain_san(trust_domain), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _trust_domain_san(trust_domain: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
