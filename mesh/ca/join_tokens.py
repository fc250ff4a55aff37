"""Join tokens: a zone's signed word that somebody may enrol as a service.

A token is a JWT (ES256) signed with the key of the zone's own certificate, which travels in the
header (``x5c``, RFC 7515 section 4.1.6).  Any instance of the zone verifies it against the trust
bundle, so no secret is stored or shared.  Two moments count:

- at *first use* the chain and the token must be valid now;
- at *re-attestation* (a proxy proves itself again, long after) the chain must have been valid when
  the token was issued, and its expiry no longer matters.  That the same key asks, and for how
  long that is allowed, is the caller's to check.

Nothing here reads a clock or a file.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca import chain
from mesh.ca.bundle import TrustBundle, from_pem
from mesh.ca.issuer import Credentials
from mesh.ca.join_token_errors import (
    ExpiredTokenError,
    ForeignTokenError,
    MalformedTokenError,
    NotYetValidTokenError,
    TamperedTokenError,
    WrongServiceError,
)
from mesh.model import names
from mesh.model.identity import ZoneId

ALGORITHM: Final = "ES256"
MAX_TOKEN_CHARACTERS: Final = 16 * 1024
_MAX_CHAIN: Final = 5
# The signer's key is in x5c and nowhere else: a header that names one elsewhere is refused.
_HEADER: Final = frozenset({"alg", "typ", "x5c"})
_TEXTS: Final = ("iss", "aud", "jti", "ca")
_TIMES: Final = ("iat", "exp")
_CLAIMS: Final = frozenset({*_TEXTS, *_TIMES, "svc", "pfx", "reuse"})
_SKEW: Final = timedelta(seconds=60)
_MAX_TIME: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


class Use(enum.Enum):
    """What a token is shown for."""

    FIRST = "first use"
    REATTESTATION = "re-attestation"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may enrol: exactly ``service``, or any service whose name starts with ``prefix``."""

    service: str = ""
    prefix: str = ""
    reusable: bool = False

    def __post_init__(self) -> None:
        """Refuse a grant for everybody or for two things.

        Raises:
            ValueError: not exactly one of service and prefix is a valid name.

        """
        if bool(self.service) == bool(self.prefix):
            raise ValueError("a join token is for one service or for one prefix: give one of them")
        names.service_name(self.service or self.prefix.rstrip("-_"))

    def covers(self, service: str) -> bool:
        """Tell whether ``service`` may enrol."""
        return service == self.service if self.service else service.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a verified token says."""

    id: str
    grant: Grant
    zone: ZoneId
    bundle_fingerprint: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token.  ``token`` is the secret; ``id`` names it in records."""

    token: str
    id: str
    expires_at: datetime


def mint(
    grant: Grant,
    *,
    zone: ZoneId,
    signer: Credentials,
    bundle: TrustBundle,
    token_id: str,
    now: datetime,
    ttl: timedelta,
) -> Minted:
    """Sign a token that lives ``ttl``, or as long as ``signer``'s certificate if that is less."""
    issued_at = int(now.timestamp())
    expires_at = int(min(now + ttl, signer.not_after).timestamp())
    who = {"svc": grant.service} if grant.service else {"pfx": grant.prefix}
    claims = {
        "iss": zone.uri,
        "aud": zone.trust_domain,
        "jti": token_id,
        "iat": issued_at,
        "exp": expires_at,
        "reuse": grant.reusable,
        "ca": bundle.fingerprint,
        **who,
    }
    certificates = [
        base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode()
        for each in from_pem(signer.chain_pem)
    ]
    token = jwt.encode(claims, signer.private_key, ALGORITHM, headers={"x5c": certificates})
    return Minted(token, token_id, datetime.fromtimestamp(expires_at, UTC))


def verify(
    token: str,
    *,
    zone: ZoneId,
    bundle: TrustBundle,
    service: str,
    now: datetime,
    use: Use = Use.FIRST,
) -> JoinToken:
    """Return what ``token`` says, if ``zone`` signed it for ``service``.

    Raises:
        JoinTokenError: of the kind that tells why not.

    """
    path = _read_chain(token)
    _check_trust(path, bundle)
    claims = _read_claims(token, path[0])
    _check_issuer(claims, path[0], zone)
    found = _parse(claims, zone)
    _check_time(found, path, now, use)
    if not found.grant.covers(service):
        allowed = found.grant.service or f"{found.grant.prefix}*"
        raise WrongServiceError(f"is for {allowed!r}, not for {service!r}")
    # Whatever it claims, its word is worth nothing new once its signer's certificate has ended.
    end = min(each.not_valid_after_utc for each in path)
    return replace(found, expires_at=min(found.expires_at, end))


def _read_chain(token: str) -> tuple[x509.Certificate, ...]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise MalformedTokenError(f"is longer than {MAX_TOKEN_CHARACTERS} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise MalformedTokenError(f"is not a JWT ({error})") from error
    if unknown := sorted(set(header) - _HEADER):
        raise MalformedTokenError(f"has headers that none of ours has ({', '.join(unknown)})")
    if header.get("alg") != ALGORITHM:
        raise MalformedTokenError(f"is signed with {header.get('alg')!r}, not {ALGORITHM}")
    encoded = header.get("x5c")
    if not isinstance(encoded, list) or not 0 < len(encoded) <= _MAX_CHAIN:
        raise MalformedTokenError(f"does not carry 1 to {_MAX_CHAIN} certificates of its signer")
    try:
        return tuple(
            x509.load_der_x509_certificate(base64.b64decode(each, validate=True))
            for each in encoded
        )
    except (ValueError, TypeError, binascii.Error) as error:
        raise MalformedTokenError("carries a certificate that cannot be read") from error


def _check_trust(path: tuple[x509.Certificate, ...], bundle: TrustBundle) -> None:
    # A moment at which the signer's whole chain was valid, if it ever was: whether it still is
    # belongs to the token's age, and has another remedy than a foreign signer.
    moment = max(each.not_valid_before_utc for each in path)
    try:
        chain.verify(path, bundle.roots, moment)
    except chain.UntrustedChainError as error:
        raise ForeignTokenError(
            f"was not signed below the CA of {bundle.trust_domain} ({error})"
        ) from error


def _read_claims(token: str, signer: x509.Certificate) -> Mapping[str, Any]:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ForeignTokenError("was not signed with a zone's EC P-256 key")
    try:
        # Times and audience are checked below, each with its own error.
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            options={
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except jwt.InvalidSignatureError as error:
        raise TamperedTokenError("has a signature that does not fit its content") from error
    except jwt.InvalidTokenError as error:
        raise MalformedTokenError(f"cannot be read ({error})") from error
    return claims


def _check_issuer(claims: Mapping[str, Any], signer: x509.Certificate, zone: ZoneId) -> None:
    uri = chain.sole_uri(signer)
    if claims.get("iss") != uri:
        raise ForeignTokenError(f"says it is from {claims.get('iss')!r}, but {uri!r} signed it")
    if claims.get("aud") != zone.trust_domain:
        raise ForeignTokenError(
            f"is for the trust domain {claims.get('aud')!r}, not {zone.trust_domain!r}"
        )
    # Also what keeps a workload from vouching for another: its certificate has no zone's URI.
    if uri != zone.uri:
        raise ForeignTokenError(f"is from {uri}, and this is {zone.uri}")


def _parse(claims: Mapping[str, Any], zone: ZoneId) -> JoinToken:
    if unknown := sorted(set(claims) - _CLAIMS):
        raise MalformedTokenError(f"has unknown claims ({', '.join(unknown)})")
    for name in _TEXTS:
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise MalformedTokenError(f"lacks the claim {name!r}")
    for name in _TIMES:
        # A bool is an int in Python, and no time.
        if type(claims.get(name)) is not int or not 0 < claims[name] < _MAX_TIME:
            raise MalformedTokenError(f"has no time in the claim {name!r}")
    if not isinstance(claims.get("reuse"), bool):
        raise MalformedTokenError("lacks the claim 'reuse'")
    try:
        grant = Grant(_text(claims, "svc"), _text(claims, "pfx"), claims["reuse"])
    except ValueError as error:
        raise MalformedTokenError(f"names no service ({error})") from error
    return JoinToken(
        claims["jti"],
        grant,
        zone,
        claims["ca"],
        datetime.fromtimestamp(claims["iat"], UTC),
        datetime.fromtimestamp(claims["exp"], UTC),
    )


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    return value if isinstance(value, str) else ""


def _check_time(
    found: JoinToken, path: tuple[x509.Certificate, ...], now: datetime, use: Use
) -> None:
    if found.issued_at > now + _SKEW:
        raise NotYetValidTokenError(f"is from {found.issued_at:%Y-%m-%d %H:%M:%S}Z, in the future")
    if use is Use.FIRST and now >= found.expires_at:
        raise ExpiredTokenError(f"expired at {found.expires_at:%Y-%m-%d %H:%M:%S}Z")
    moment = now if use is Use.FIRST else found.issued_at
    begin = max(each.not_valid_before_utc for each in path)
    end = min(each.not_valid_after_utc for each in path)
    if moment + _SKEW < begin:
        raise NotYetValidTokenError(f"was signed before its signer was valid ({begin})")
    if moment >= end:
        raise ExpiredTokenError(f"was signed with a certificate that expired at {end}")
