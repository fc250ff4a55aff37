"""Who is at the other end: the workload named by a client certificate."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model.identity import InvalidIdentityError, WorkloadId
from mesh.xds.grpc_framing import Status, StatusError


@dataclass(frozen=True, slots=True)
class Peer:
    """An authenticated workload, and until when its certificate says so (Unix time)."""

    identity: WorkloadId
    not_after: float


def identify(certificate: Mapping[str, Any] | None, *, trust_domain: str, zone: str) -> Peer:
    """Read the certificate (as ``SSLObject.getpeercert`` gives it) of a verified peer.

    Raises:
        StatusError: it does not name exactly one workload of this trust domain and zone.

    """
    if not certificate:
        raise StatusError(
            Status.UNAUTHENTICATED, "a client certificate is required: enrol with the zone first"
        )
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        raise StatusError(
            Status.PERMISSION_DENIED,
            f"the client certificate has {len(uris)} URI names {uris}: exactly one, "
            "the workload's SPIFFE id, is expected",
        )
    try:
        identity = WorkloadId.parse(uris[0])
    except InvalidIdentityError as error:
        raise StatusError(Status.PERMISSION_DENIED, str(error)) from error
    if (identity.trust_domain, identity.zone) != (trust_domain, zone):
        raise StatusError(
            Status.PERMISSION_DENIED,
            f"{identity.uri} belongs to zone {identity.zone!r} of {identity.trust_domain!r}; "
            f"this is zone {zone!r} of {trust_domain!r}: connect to the workload's own zone",
        )
    return Peer(identity, ssl.cert_time_to_seconds(certificate["notAfter"]))
