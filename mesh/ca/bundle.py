"""The trust bundle: the roots that a mesh believes, and the fingerprint that pins them.

While roots rotate a bundle holds several.  The first is the one that signs, and the only one
whose fingerprint is handed out: a newcomer who pinned it accepts the bundle that starts with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What may come of a certificate that somebody else has made."""


class InvalidBundleError(ValueError):
    """A bundle holds no certificate, or one that cannot be a root."""


@dataclass(frozen=True)
class TrustBundle:
    """The roots of one trust domain, as PEM.  ``fingerprint`` names the first of them."""

    pem: str
    trust_domain: str
    fingerprint: str

    @classmethod
    def of(cls, roots: Iterable[x509.Certificate], trust_domain: str) -> TrustBundle:
        """Make a bundle of ``roots``, the signing one first; repeats are dropped.

        Raises:
            InvalidBundleError: there is no root, or one of them is no CA.

        """
        distinct = tuple(dict.fromkeys(roots))
        if not distinct:
            raise InvalidBundleError(f"the trust bundle of {trust_domain} holds no root")
        for root in distinct:
            if not is_root(root):
                raise InvalidBundleError(
                    f"the trust bundle of {trust_domain} holds {root.subject.rfc4514_string()!r}, "
                    "which is not a self-signed CA"
                )
        return cls(to_pem(distinct), trust_domain, fingerprint(distinct[0]))

    @classmethod
    def parse(cls, pem: str, trust_domain: str) -> TrustBundle:
        """Read a bundle from PEM.

        Raises:
            InvalidBundleError: it is not PEM, holds no root, or holds something else.

        """
        try:
            return cls.of(from_pem(pem), trust_domain)
        except InvalidBundleError:
            raise
        except UNREADABLE as error:
            raise InvalidBundleError(
                f"the trust bundle of {trust_domain} holds a certificate that is odd: {error}"
            ) from error

    @cached_property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The roots as certificates, in order."""
        return from_pem(self.pem)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return ``sha256:<hex of the DER's hash>``."""
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether ``certificate`` is a CA that signed itself."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and issued_by(certificate, certificate)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether ``issuer``'s name and key stand behind ``certificate``."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """Write certificates one after another."""
    return "".join(
        certificate.public_bytes(serialization.Encoding.PEM).decode()
        for certificate in certificates
    )


def from_pem(pem: str) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a PEM text.

    Raises:
        InvalidBundleError: there is none, or one cannot be read.

    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError as error:
        raise InvalidBundleError(
            f"no certificate can be read from the PEM text: {error}"
        ) from error
