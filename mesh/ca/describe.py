"""Certificates in the words of the issuer's protocol: names, lives, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from mesh.ca import certificates
from mesh.ca.bundle import fingerprint, to_pem
from mesh.ca.issuer import Issued, RootStatus
from mesh.model.identity import ZoneId

ROOT_EXPIRES_SOON: Final = timedelta(days=30)


def zone_names(zone: ZoneId) -> list[x509.GeneralName]:
    """Return the names in a zone's own certificate."""
    return [x509.UniformResourceIdentifier(zone.uri), x509.DNSName(zone.server_name)]


def issued(path: Sequence[x509.Certificate]) -> Issued:
    """Describe a leaf and the intermediates above it."""
    leaf = path[0]
    return Issued(
        to_pem(path),
        certificates.serial(leaf),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def root_statuses(roots: Sequence[x509.Certificate]) -> tuple[RootStatus, ...]:
    """Describe the roots of a bundle."""
    return tuple(
        RootStatus(root.subject.rfc4514_string(), fingerprint(root), root.not_valid_after_utc)
        for root in roots
    )


def root_warnings(roots: Sequence[x509.Certificate], now: datetime) -> list[str]:
    """Say which roots are at their end."""
    return [
        f"the root {fingerprint(root)} expires on {root.not_valid_after_utc:%Y-%m-%d}: rotate it"
        for root in roots
        if root.not_valid_after_utc - now < ROOT_EXPIRES_SOON
    ]
