"""What zones of different organisations tell each other before they believe each other.

A *peering token* is a zone's signed word that a zone of one name may become its peer: it carries
the name, the trust domain and the roots of the zone that made it, and where its gateways are.  An
*introduction* is the answer of the other, of the same shape.  Both are words of a zone
(:mod:`mesh.ca.zone_words`), and they vouch for the very roots that they carry: whoever introduces
himself has a certificate of the roots that he names.  Neither outlives that certificate.  That a
token comes from whom one thinks is for the people to see to who hand it over.

Nothing here reads a clock or a file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from mesh.ca import chain, zone_words
from mesh.ca.bundle import InvalidBundleError, TrustBundle
from mesh.ca.issuer import Credentials
from mesh.ca.zone_words import SKEW, WordError
from mesh.model.hostport import MAX_PORT
from mesh.model.identity import InvalidIdentityError, ZoneId
from mesh.model.zones import Gateway

TOKEN: Final = "mesh-peering-token"
"""The type of a peering token, in its header."""
INTRODUCTION: Final = "mesh-peering-introduction"
"""The type of an introduction."""
MAX_CHARACTERS: Final = 64 * 1024
_TEXTS: Final = ("iss", "aud", "jti", "bundle")
_TIMES: Final = ("iat", "exp")
_CLAIMS: Final = frozenset({*_TEXTS, *_TIMES, "gateways"})
_ANOTHER: Final = "ask for a new one with 'mesh zone peer create'"


class PeeringTokenError(Exception):
    """A token, or an introduction, was refused; the message says why and what to do."""

    def __init__(self, reason: str, remedy: str = _ANOTHER) -> None:
        """Write the reason and the remedy in one sentence."""
        super().__init__(f"the peering token {reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Word:
    """What a zone says of itself: to ``audience``, in the matter ``id``."""

    zone: ZoneId
    bundle: TrustBundle
    gateways: tuple[Gateway, ...]
    audience: str
    id: str
    issued_at: datetime
    expires_at: datetime


def sign(kind: str, word: Word, signer: Credentials) -> str:
    """Write ``word`` as :data:`TOKEN` or :data:`INTRODUCTION`."""
    claims = {
        "iss": word.zone.uri,
        "aud": word.audience,
        "jti": word.id,
        "iat": int(word.issued_at.timestamp()),
        "exp": int(word.expires_at.timestamp()),
        "bundle": word.bundle.pem,
        "gateways": [[each.address, each.port] for each in word.gateways],
    }
    return zone_words.sign(claims, signer, kind=kind)


def read(kind: str, text: str, *, audience: str, now: datetime) -> Word:
    """Return what ``text`` says, if it is whole, of that kind, for ``audience``, and still valid.

    Raises:
        PeeringTokenError: it is not.

    """
    try:
        path = zone_words.signers(text, most=MAX_CHARACTERS, kind=kind)
        word = _word(zone_words.claims(text, path[0]))
    except WordError as error:
        raise PeeringTokenError(error.reason) from error
    _check_time(word, now)
    _check_signer(word, path, now)
    if word.audience != audience:
        raise PeeringTokenError(f"is for {word.audience}, and this is {audience}")
    return word


def invited(name: str) -> str:
    """Return the audience of a token for the zone ``name``, whose trust domain is not known yet."""
    return f"zone {name}"


def _check_time(word: Word, now: datetime) -> None:
    if word.issued_at > now + SKEW:
        raise PeeringTokenError(
            f"is from {word.issued_at:%Y-%m-%d %H:%M:%S}Z, in the future",
            "set the clocks of both zones right (NTP)",
        )
    if now >= word.expires_at:
        raise PeeringTokenError(f"expired at {word.expires_at:%Y-%m-%d %H:%M:%S}Z")


def _check_signer(word: Word, path: tuple[x509.Certificate, ...], now: datetime) -> None:
    if chain.sole_uri(path[0]) != word.zone.uri:
        raise PeeringTokenError(f"says it is from {word.zone.uri}, and another signed it")
    try:
        chain.verify(path, word.bundle.roots, now)
    except chain.UntrustedChainError as error:
        raise PeeringTokenError(
            f"was not signed below the roots that it names ({error})"
        ) from error


def _word(claims: Mapping[str, Any]) -> Word:
    if set(claims) != _CLAIMS:
        raise PeeringTokenError("has other claims than ours have")
    zone_words.check_claims(claims, texts=_TEXTS, times=_TIMES)
    try:
        zone = ZoneId.parse(claims["iss"])
        bundle = TrustBundle.parse(claims["bundle"], zone.trust_domain)
    except InvalidIdentityError as error:
        raise PeeringTokenError(f"is from no zone ({error})") from error
    except InvalidBundleError as error:
        raise PeeringTokenError(f"carries no roots ({error})") from error
    return Word(
        zone,
        bundle,
        _gateways(claims["gateways"]),
        claims["aud"],
        claims["jti"],
        zone_words.moment(claims, "iat"),
        zone_words.moment(claims, "exp"),
    )


def _gateways(found: object) -> tuple[Gateway, ...]:
    gateways = []
    for each in found if isinstance(found, list) else ():
        match each:
            case [str(address), int(port)] if 0 < port <= MAX_PORT and _is_ip(address):
                gateways.append(Gateway(address, port))
            case _:
                raise PeeringTokenError(f"names {each!r}, which is no gateway")
    if not gateways:
        raise PeeringTokenError("names no gateway")
    return tuple(gateways)


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
