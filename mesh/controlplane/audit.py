"""One structured line for every certificate: who got it, on what proof, and until when.

The lines go to the logger ``mesh.audit``, so that a log configuration can send them elsewhere.
They name a proof by its id, never by its secret.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import datetime

logger = logging.getLogger("mesh.audit")


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What is recorded of a certificate.  ``proof_id`` is a token's id or a serial number."""

    identity: str
    proof: str
    proof_id: str
    serial: str
    not_after: datetime
    spki_sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """What is recorded of a refusal."""

    service: str
    proof: str
    reason: str
    source: str


def issued(record: IssuedCertificate) -> None:
    """Record a certificate."""
    logger.info(
        "certificate issued", extra={**asdict(record), "not_after": record.not_after.isoformat()}
    )


def refused(record: RefusedRequest) -> None:
    """Record a refusal."""
    logger.warning("certificate refused", extra=asdict(record))


@dataclass(frozen=True, slots=True)
class AdminAction:
    """What is recorded of an administrator's change."""

    action: str
    subject: str
    source: str


def administered(record: AdminAction) -> None:
    """Record an administrator's change."""
    logger.info("administered", extra=asdict(record))
