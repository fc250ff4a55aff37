"""The proxy's identity as values: certificate and key, trust bundle, and when to renew.

Certificate and key must change together, for Envoy too.  Both therefore stand *inside* one file,
``identity.json`` (an SDS secret with inline strings), replaced by one rename: there is no moment
with a new certificate and an old key, and no old key left to delete.  ``svid.pem``, ``svid.key``
and ``bundle.pem`` repeat the content for the agent's own connections and for people's tools; they
are rewritten from the SDS files when the agent starts.

Nothing here does I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import ssl
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from mesh.agent.errors import ProofError
from mesh.envoy import files
from mesh.model.identity import WorkloadId, ZoneId

SECRET_TYPE: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL
)
_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Svid:
    """What the zone said of the certificate it issued; the certificate itself is in a file."""

    trust_domain: str
    zone: str
    service: str
    serial: str
    issued_at: datetime
    not_after: datetime
    xds: tuple[str, ...]

    @property
    def workload(self) -> WorkloadId:
        """Whose certificate it is."""
        return WorkloadId(self.trust_domain, self.zone, self.service)

    @property
    def zone_id(self) -> ZoneId:
        """Who issued it."""
        return ZoneId(self.trust_domain, self.zone)

    def valid(self, now: datetime) -> bool:
        """Whether a peer would still accept it."""
        return now < self.not_after

    def renew_at(self, jitter: float) -> datetime:
        """Return when to renew: half way through, up to a tenth of the life earlier.

        ``jitter`` is in [0, 1).  Earlier rather than later, so that a fleet enrolled in one minute
        does not return in one minute and nobody has less than half a life left to succeed in.
        """
        life = self.not_after - self.issued_at
        return self.issued_at + life * (0.5 - _JITTER * jitter)

    def to_json(self) -> bytes:
        """Write what :meth:`from_json` reads."""
        raw = asdict(self)
        raw["issued_at"] = self.issued_at.isoformat()
        raw["not_after"] = self.not_after.isoformat()
        return json.dumps(raw, indent=1).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read what :meth:`to_json` wrote; anything else is a ValueError, TypeError or KeyError."""
        read: dict[str, Any] = json.loads(raw)
        read["issued_at"] = datetime.fromisoformat(read["issued_at"])
        read["not_after"] = datetime.fromisoformat(read["not_after"])
        read["xds"] = tuple(read["xds"])
        return cls(**read)


@dataclass(frozen=True, slots=True)
class Pins:
    """What is known of the zone before it is asked; None is what is not."""

    fingerprint: str | None = None
    trust_domain: str | None = None
    zone: str | None = None


def identity_secret(chain: str, key: str) -> bytes:
    """Return the SDS file with the certificate chain and its key."""
    return _sds(
        files.IDENTITY_SECRET,
        {
            "tls_certificate": {
                "certificate_chain": {"inline_string": chain},
                "private_key": {"inline_string": key},
            }
        },
    )


def read_identity_secret(content: bytes) -> tuple[str, str]:
    """Return chain and key from the SDS file; raises ValueError, KeyError or TypeError."""
    secret = json.loads(content)["resources"][0]["tls_certificate"]
    return secret["certificate_chain"]["inline_string"], secret["private_key"]["inline_string"]


def bundle_secret(bundle: str) -> bytes:
    """Return the SDS file with the trust bundle."""
    return _sds(
        files.BUNDLE_SECRET,
        {"validation_context": {"trusted_ca": {"inline_string": bundle}}},
    )


def read_bundle_secret(content: bytes) -> str:
    """Return the trust bundle from the SDS file; raises ValueError, KeyError or TypeError."""
    context = json.loads(content)["resources"][0]["validation_context"]
    bundle: str = context["trusted_ca"]["inline_string"]
    return bundle


def fingerprint(certificate: str) -> str:
    """Return ``sha256:<hex>`` of a PEM certificate's DER."""
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.strip())).hexdigest()


def pinned_root(bundle: str, pin: str) -> str | None:
    """Return the one certificate of ``bundle`` that ``pin`` names.

    The bundle came from somebody unverified: what stands beside the pinned root may be a
    stranger's, and must not be trusted with it.
    """
    for certificate in _CERTIFICATE.findall(bundle):
        try:
            if fingerprint(certificate) == pin:
                return str(certificate)
        except (ValueError, binascii.Error):
            continue
    return None


def pins_of_join_token(token: str) -> Pins:
    """Read from a join token which zone made it, without trusting it further than that.

    Raises:
        ProofError: it is not a join token.

    """
    try:
        claims = _claims(token)
        issuer, pin = str(claims["iss"]), str(claims["ca"])
        zone = ZoneId.parse(issuer)
        return Pins(pin, zone.trust_domain, zone.zone)
    except (ValueError, KeyError, TypeError) as error:
        raise ProofError(
            "the join token is not one that a zone of this mesh made",
            "Create one with `mesh token create --service <service>` and put it, alone, into the "
            "join token file.",
        ) from error


def token_id(token: str) -> str:
    """Return the id of a join token; empty if it has none."""
    try:
        found = _claims(token).get("jti")
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def expiry_in_words(svid: Svid, now: datetime) -> str:
    """Say how far the certificate's end is, for a log line."""
    left = svid.not_after - now
    if left > timedelta():
        return f"valid for {left}"
    return f"expired {-left} ago"


def _claims(token: str) -> dict[str, Any]:
    _, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if not isinstance(claims, dict):
        raise ValueError("the claims are not an object")  # noqa: TRY004 - as everything else wrong
    return claims


def _sds(name: str, secret: dict[str, Any]) -> bytes:
    resource = {"@type": SECRET_TYPE, "name": name, **secret}
    return json.dumps({"resources": [resource]}).encode()
