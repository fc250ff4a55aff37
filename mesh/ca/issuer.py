"""What every issuer does, whoever holds the root's key.

An issuer is started once, signs checked requests, and looks after its own authority in the
background.  Callers see values only: certificates as PEM, the bundle, and a status that says in
words what an operator should know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca.bundle import TrustBundle
from mesh.ca.csr import CheckedCsr


class IssuerError(Exception):
    """Something could not be signed; ``remedy`` says what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        """Keep the remedy beside the message."""
        super().__init__(f"{message}; {remedy}")
        self.remedy = remedy


class IssuerUnavailableError(IssuerError):
    """The issuer cannot sign now, but may later."""


class BadAnswerError(IssuerError):
    """An upstream CA answered with a certificate that is not the one asked for."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed leaf.  ``chain_pem`` is leaf first, then intermediates, without the root."""

    chain_pem: str
    serial: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate chain with its private key, in memory only."""

    chain_pem: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    serial: str
    not_before: datetime
    not_after: datetime

    @property
    def private_key_pem(self) -> str:
        """The key as unencrypted PKCS #8; never to be logged or written."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def half_spent(self, now: datetime) -> bool:
        """Tell whether half of the life is over, when a successor should be made."""
        return now >= self.not_before + (self.not_after - self.not_before) / 2


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One root of the bundle."""

    subject: str
    fingerprint: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class IssuerStatus:
    """How an issuer fares.  ``warnings`` are sentences for an operator."""

    mode: str
    intermediate_not_after: datetime | None
    roots: tuple[RootStatus, ...]
    warnings: tuple[str, ...]


class Issuer(Protocol):
    """Signs the certificates of one zone."""

    async def start(self) -> None:
        """Get ready to sign, or fail with what is missing.

        Raises:
            IssuerError: the authority cannot be had.

        """
        ...

    async def close(self) -> None:
        """End the background work and forget the keys."""
        ...

    async def sign(self, csr: CheckedCsr, ttl: timedelta) -> Issued:
        """Sign a leaf that lives ``ttl``, or less where the authority lives less.

        Raises:
            IssuerUnavailableError: nothing can be signed now.
            IssuerError: what was asked cannot be signed.

        """
        ...

    async def zone_identity(self) -> Credentials:
        """Return the zone's own credentials, renewed once half of their life is over.

        Raises:
            IssuerUnavailableError: none are valid and none can be made now.

        """
        ...

    def bundle(self) -> TrustBundle:
        """Return the roots that the mesh shall believe."""
        ...

    def status(self) -> IssuerStatus:
        """Tell how the issuer fares."""
        ...
