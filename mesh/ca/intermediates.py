"""Intermediates that others sign for a zone: who signs, and what must come back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509

from mesh.ca import certificates
from mesh.ca.bundle import issued_by
from mesh.ca.certificates import Authority
from mesh.ca.issuer import BadAnswerError


@dataclass(frozen=True, slots=True)
class SignedIntermediate:
    """What a source gives: the way from the intermediate to below the root, and the roots.

    The first of ``roots`` signs; the others are published beside it while roots rotate.
    """

    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate
    roots: tuple[x509.Certificate, ...]
    warnings: tuple[str, ...] = ()


class IntermediateSource(Protocol):
    """Signs intermediates for a zone."""

    @property
    def mode(self) -> str:
        """The issuer's mode, as settings name it."""
        ...

    @property
    def trouble(self) -> str:
        """What will keep it from signing later, as a sentence; empty if nothing will."""
        ...

    async def open(self) -> None:
        """Reach whoever signs.

        Raises:
            IssuerError: it cannot be reached or refuses.

        """
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...

    async def sign_intermediate(
        self, csr: x509.CertificateSigningRequest, ttl: timedelta
    ) -> SignedIntermediate:
        """Sign ``csr`` as a CA that signs leaves only.

        Raises:
            IssuerError: it was not signed.

        """
        ...


def check_intermediate(authority: Authority, now: datetime) -> None:
    """Check that what came back is what was asked for.

    Raises:
        BadAnswerError: another key, no CA, a wrong path length, or not valid now.

    """
    certificate = authority.certificate
    wrong: list[str] = []
    if certificate.public_key() != authority.key.public_key():
        wrong.append("it is for another key")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not basic.ca or basic.path_length != 0:
            wrong.append(f"CA:{basic.ca} with path length {basic.path_length}, not CA with 0")
    except x509.ExtensionNotFound:
        wrong.append("it is no CA")
    signers = (*authority.chain[1:], authority.root)
    for below, above in zip(authority.chain, signers, strict=True):
        if not issued_by(below, above):
            wrong.append(f"{above.subject.rfc4514_string()!r} did not sign what stands below it")
    if not authority.not_before <= now + certificates.CLOCK_SKEW:
        wrong.append(f"it is not valid before {authority.not_before}: the clocks differ")
    if now >= authority.not_after:
        wrong.append(f"it or its root expired at {authority.not_after}")
    if wrong:
        raise BadAnswerError(
            f"the intermediate that came back cannot be used: {'; '.join(wrong)}",
            remedy="check the issuer's configuration and the clocks",
        )
