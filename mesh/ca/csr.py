"""What a certificate signing request must be before anybody signs anything.

A request proves possession of a key and names one identity; nothing else of it is believed.  The
certificate is built from :class:`CheckedCsr`, never copied from the request, so that what was not
checked cannot slip through.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mesh.model.identity import InvalidIdentityError, WorkloadId
from mesh.model.violations import Report

MAX_CSR_BYTES: Final = 16 * 1024
_MIN_RSA_BITS: Final = 2048
# A larger key costs the signer and every peer more than it protects.
_MAX_RSA_BITS: Final = 8192
_SUBJECT: Final = "certificate signing request"

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""The kinds of key a workload may have."""


@dataclass(frozen=True, slots=True)
class CheckedCsr:
    """A request worth signing: whose it is and which key it proved to hold."""

    identity: WorkloadId
    public_key: PublicKey
    pem: str

    @property
    def spki_sha256(self) -> str:
        """Hex hash of the public key (SubjectPublicKeyInfo): the key's name in records."""
        return spki_sha256(self.public_key)


def spki_sha256(key: PublicKey) -> str:
    """Return the hex SHA-256 of the key's SubjectPublicKeyInfo."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def check_csr(pem: str | bytes, expected: WorkloadId) -> CheckedCsr:
    """Return what may be signed for ``expected``.

    Raises:
        InvalidInputError: with every reason why the request cannot be signed.

    """
    report = Report(_SUBJECT)
    csr = _parse(pem, report)
    report.close()
    key = _check_key(csr, report)
    _check_signature(csr, report)
    _check_extensions(csr, expected, report)
    report.close()
    text = csr.public_bytes(serialization.Encoding.PEM).decode()
    return CheckedCsr(expected, key, text)


def _parse(pem: str | bytes, report: Report) -> x509.CertificateSigningRequest:
    data = pem.encode(errors="replace") if isinstance(pem, str) else pem
    if len(data) > MAX_CSR_BYTES:
        report.add("", f"is {len(data)} bytes long; at most {MAX_CSR_BYTES} are read")
        report.close()
    try:
        return x509.load_pem_x509_csr(data)
    except (ValueError, x509.InvalidVersion) as error:
        report.add("", f"cannot be read as PEM 'CERTIFICATE REQUEST' (PKCS #10): {error}")
        report.close()
        raise


def _check_key(csr: x509.CertificateSigningRequest, report: Report) -> PublicKey:
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        report.add("key", f"cannot be read: {error}; use EC P-256")
        report.close()
        raise
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            report.add("key", f"is on the curve {key.curve.name}; use EC P-256 or P-384")
    elif isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            report.add(
                "key",
                f"is RSA of {key.key_size} bits; "
                f"use {_MIN_RSA_BITS} to {_MAX_RSA_BITS}, or better EC P-256",
            )
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        report.add("key", f"is {type(key).__name__}; use EC P-256, P-384, Ed25519 or RSA")
        report.close()
        raise TypeError(type(key).__name__)  # unreachable: the report is not empty
    return key


def _check_signature(csr: x509.CertificateSigningRequest, report: Report) -> None:
    try:
        valid = csr.is_signature_valid
        digest = csr.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        report.add("signature", f"cannot be checked: {error}")
        return
    if not valid:
        report.add("signature", "does not verify with the request's own key")
    elif isinstance(digest, hashes.SHA1 | hashes.MD5):
        report.add("signature", f"uses {digest.name}; use SHA-256")


def _check_extensions(
    csr: x509.CertificateSigningRequest, expected: WorkloadId, report: Report
) -> None:
    try:
        extensions = csr.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        report.add("extensions", f"cannot be read: {error}")
        return
    wanted: x509.SubjectAlternativeName | None = None
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            report.add("basicConstraints", "asks for a CA certificate; leave CA:true out")
        if isinstance(extension.value, x509.SubjectAlternativeName):
            wanted = extension.value
    if wanted is None:
        report.add("subjectAltName", f"is missing; it must be exactly URI:{expected.uri}")
        return
    _check_names(tuple(wanted), expected, report)


def _check_names(names: tuple[x509.GeneralName, ...], expected: WorkloadId, report: Report) -> None:
    if len(names) != 1:
        report.add("subjectAltName", f"has {len(names)} names; exactly one URI is signed")
    for index, name in enumerate(names):
        path = f"subjectAltName[{index}]"
        if not isinstance(name, x509.UniformResourceIdentifier):
            report.add(
                path, f"is a {type(name).__name__}, not a URI; only {expected.uri} is signed"
            )
            continue
        try:
            claimed = WorkloadId.parse(name.value)
        except InvalidIdentityError as error:
            report.add(path, str(error))
            continue
        if claimed != expected:
            report.add(path, f"claims {claimed.uri}, but the proof is for {expected.uri}")
