"""Join tokens: a zone's signed word that somebody may enrol as a service.

A token is a word of the zone (:mod:`mesh.ca.zone_words`).  Any instance of the zone verifies it
against the trust bundle, so no secret is stored or shared.  Two moments count:

- at *first use* the chain and the token must be valid now;
- at *re-attestation* (a proxy proves itself again, long after) the chain must have been valid when
  the token was issued, and its expiry no longer matters.  That the same key asks, and for how
  long that is allowed, is the caller's to check.

Nothing here reads a clock or a file.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509

from mesh.ca import chain, zone_words
from mesh.ca.bundle import TrustBundle
from mesh.ca.issuer import Credentials
from mesh.ca.join_token_errors import (
    ExpiredTokenError,
    ForeignTokenError,
    JoinTokenError,
    MalformedTokenError,
    NotYetValidTokenError,
    TamperedTokenError,
    WrongServiceError,
)
from mesh.ca.zone_words import SKEW, ForeignWordError, TamperedWordError, WordError
from mesh.model import names
from mesh.model.identity import ZoneId

MAX_TOKEN_CHARACTERS: Final = 16 * 1024
_TEXTS: Final = ("iss", "aud", "jti", "ca")
_TIMES: Final = ("iat", "exp")
_CLAIMS: Final = frozenset({*_TEXTS, *_TIMES, "svc", "pfx", "reuse"})


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
    token = zone_words.sign(claims, signer)
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
    try:
        path = zone_words.signers(token, most=MAX_TOKEN_CHARACTERS)
        _check_trust(path, bundle)
        claims = zone_words.claims(token, path[0])
        _check_issuer(claims, path[0], zone)
        found = _parse(claims, zone)
    except WordError as error:
        raise _refused(error) from error
    _check_time(found, path, now, use)
    if not found.grant.covers(service):
        allowed = found.grant.service or f"{found.grant.prefix}*"
        raise WrongServiceError(f"is for {allowed!r}, not for {service!r}")
    # Whatever it claims, its word is worth nothing new once its signer's certificate has ended.
    end = min(each.not_valid_after_utc for each in path)
    return replace(found, expires_at=min(found.expires_at, end))


def _refused(error: WordError) -> JoinTokenError:
    match error:
        case ForeignWordError():
            return ForeignTokenError(error.reason)
        case TamperedWordError():
            return TamperedTokenError(error.reason)
        case _:
            return MalformedTokenError(error.reason)


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
    zone_words.check_claims(claims, texts=_TEXTS, times=_TIMES)
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
        zone_words.moment(claims, "iat"),
        zone_words.moment(claims, "exp"),
    )


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    return value if isinstance(value, str) else ""


def _check_time(
    found: JoinToken, path: tuple[x509.Certificate, ...], now: datetime, use: Use
) -> None:
    if found.issued_at > now + SKEW:
        raise NotYetValidTokenError(f"is from {found.issued_at:%Y-%m-%d %H:%M:%S}Z, in the future")
    if use is Use.FIRST and now >= found.expires_at:
        raise ExpiredTokenError(f"expired at {found.expires_at:%Y-%m-%d %H:%M:%S}Z")
    moment = now if use is Use.FIRST else found.issued_at
    begin = max(each.not_valid_before_utc for each in path)
    end = min(each.not_valid_after_utc for each in path)
    if moment + SKEW < begin:
        raise NotYetValidTokenError(f"was signed before its signer was valid ({begin})")
    if moment >= end:
        raise ExpiredTokenError(f"was signed with a certificate that expired at {end}")
