"""Requests, keys and issuers for tests."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh.ca.bundle import from_pem
from mesh.ca.chain import verify
from mesh.ca.csr import CheckedCsr, check_csr
from mesh.ca.issuer import Credentials, Issued, Issuer
from mesh.model.identity import WorkloadId, ZoneId

ZONE = ZoneId("mesh.test", "dc1")
WEB = WorkloadId("mesh.test", "dc1", "web")
API = WorkloadId("mesh.test", "dc1", "api")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def uri(value: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(value)


def csr(names: Sequence[x509.GeneralName] = (), key: Key | None = None, *, ca: bool = False) -> str:
    """Make a request for ``names``."""
    key = key or p256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if ca:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM).decode()


def checked(who: WorkloadId = WEB, key: Key | None = None) -> CheckedCsr:
    return check_csr(csr([uri(who.uri)], key), who)


def svid(issued: Issued, key: ec.EllipticCurvePrivateKey) -> Credentials:
    return Credentials(issued.chain_pem, key, issued.serial, issued.not_before, issued.not_after)


def check_leaf(issued: Issued, issuer: Issuer, names: Sequence[x509.GeneralName]) -> None:
    """Assert all that a leaf must be."""
    path = from_pem(issued.chain_pem)
    verify(path, issuer.bundle().roots, issued.not_before)
    assert not set(path) & set(issuer.bundle().roots)
    leaf = path[0].extensions
    san = leaf.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical
    assert set(san.value) == set(names)
    usage = leaf.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    purposes = set(leaf.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.get_extension_for_class(x509.SubjectKeyIdentifier)
    leaf.get_extension_for_class(x509.AuthorityKeyIdentifier)
