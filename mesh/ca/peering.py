"""What zones of different organisations tell each other before they believe each other.

A *peering token* is a zone's signed word that a zone of one name may become its peer: it carries
the name, the trust domain and the roots of the zone that made it, and where its gateways are.  An
*introduction* is the answer of the other, of the same shape.  Both are JWTs (ES256) signed with the
zone's own key, whose certificates travel in the header as with join tokens, and they vouch for the
very roots that they carry: whoever introduces himself has a certificate of the roots that he names.
That a token comes from whom one thinks is for the people to see to who hand it over.

Nothing here reads a clock or a file.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca import chain
from mesh.ca.bundle import InvalidBundleError, TrustBundle, from_pem
from mesh.ca.issuer import Credentials
from mesh.model import names
from mesh.model.identity import ZoneId
from mesh.model.zones import Gateway

TOKEN: Final = "mesh-peering-token"
"""The type of a peering token, in its header."""
INTRODUCTION: Final = "mesh-peering-introduction"
"""The type of an introduction."""
MAX_CHARACTERS: Final = 64 * 1024
_ALGORITHM: Final = "ES256"
_MAX_CHAIN: Final = 5
_HEADER: Final = frozenset({"alg", "typ", "x5c"})
_TEXTS: Final = ("iss", "aud", "jti", "bundle")
_TIMES: Final = ("iat", "exp")
_CLAIMS: Final = frozenset({*_TEXTS, *_TIMES, "gateways"})
_SKEW: Final = timedelta(seconds=60)
_MAX_TIME: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_MAX_PORT: Final = 65_535
_URI: Final = "/mesh/zone/"


class PeeringTokenError(Exception):
    """A token, or an introduction, was refused; the message says why and what to do."""

    remedy = "ask for a new one with 'mesh zone peer create'"

    def __init__(self, reason: str) -> None:
        """Write the reason and the remedy in one sentence."""
        super().__init__(f"the peering token {reason}; {self.remedy}")
        self.reason = reason


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
    certificates = [
        base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode()
        for each in from_pem(signer.chain_pem)
    ]
    claims = {
        "iss": word.zone.uri,
        "aud": word.audience,
        "jti": word.id,
        "iat": int(word.issued_at.timestamp()),
        "exp": int(word.expires_at.timestamp()),
        "bundle": word.bundle.pem,
        "gateways": [[each.address, each.port] for each in word.gateways],
    }
    headers = {"typ": kind, "x5c": certificates}
    return jwt.encode(claims, signer.private_key, _ALGORITHM, headers=headers)


def read(kind: str, text: str, *, audience: str, now: datetime) -> Word:
    """Return what ``text`` says, if it is whole, of that kind, for ``audience``, and still valid.

    Raises:
        PeeringTokenError: it is not.

    """
    path = _certificates(kind, text)
    claims = _claims(text, path[0])
    word = _word(claims)
    if chain.sole_uri(path[0]) != word.zone.uri:
        raise PeeringTokenError(f"says it is from {word.zone.uri}, and another signed it")
    try:
        chain.verify(path, word.bundle.roots, now)
    except chain.UntrustedChainError as error:
        raise PeeringTokenError(
            f"was not signed below the roots that it names ({error})"
        ) from error
    if word.audience != audience:
        raise PeeringTokenError(f"is for {word.audience}, and this is {audience}")
    if word.issued_at > now + _SKEW:
        raise PeeringTokenError(f"is from {word.issued_at:%Y-%m-%d %H:%M:%S}Z, in the future")
    if now >= word.expires_at:
        raise PeeringTokenError(f"expired at {word.expires_at:%Y-%m-%d %H:%M:%S}Z")
    return word


def invited(name: str) -> str:
    """Return the audience of a token for the zone ``name``, whose trust domain is not known yet."""
    return f"zone {name}"


def _certificates(kind: str, text: str) -> tuple[x509.Certificate, ...]:
    if len(text) > MAX_CHARACTERS:
        raise PeeringTokenError(f"is longer than {MAX_CHARACTERS} characters")
    try:
        header = jwt.get_unverified_header(text)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise PeeringTokenError(f"is not a JWT ({error})") from error
    if set(header) != _HEADER or header["alg"] != _ALGORITHM:
        raise PeeringTokenError("has another header than ours have")
    if header["typ"] != kind:
        raise PeeringTokenError(f"is a {header['typ']}, not a {kind}")
    encoded = header["x5c"]
    if not isinstance(encoded, list) or not 0 < len(encoded) <= _MAX_CHAIN:
        raise PeeringTokenError(f"does not carry 1 to {_MAX_CHAIN} certificates of its signer")
    try:
        return tuple(
            x509.load_der_x509_certificate(base64.b64decode(each, validate=True))
            for each in encoded
        )
    except (ValueError, TypeError, binascii.Error) as error:
        raise PeeringTokenError("carries a certificate that cannot be read") from error


def _claims(text: str, signer: x509.Certificate) -> Mapping[str, Any]:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PeeringTokenError("was not signed with a zone's EC P-256 key")
    # Each of these is checked here, with an error of its own.
    checks = ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")
    try:
        claims: Mapping[str, Any] = jwt.decode(
            text,
            key,
            algorithms=[_ALGORITHM],
            options={f"verify_{each}": False for each in checks},  # type: ignore[arg-type]
        )
    except jwt.InvalidSignatureError as error:
        raise PeeringTokenError("has a signature that does not fit its content") from error
    except jwt.InvalidTokenError as error:
        raise PeeringTokenError(f"cannot be read ({error})") from error
    return claims


def _word(claims: Mapping[str, Any]) -> Word:
    if set(claims) != _CLAIMS:
        raise PeeringTokenError("has other claims than ours have")
    for name in _TEXTS:
        if not isinstance(claims[name], str) or not claims[name]:
            raise PeeringTokenError(f"lacks the claim {name!r}")
    for name in _TIMES:
        # A bool is an int in Python, and no time.
        if type(claims[name]) is not int or not 0 < claims[name] < _MAX_TIME:
            raise PeeringTokenError(f"has no time in the claim {name!r}")
    zone = _zone(claims["iss"])
    try:
        bundle = TrustBundle.parse(claims["bundle"], zone.trust_domain)
    except InvalidBundleError as error:
        raise PeeringTokenError(f"carries no roots ({error})") from error
    return Word(
        zone,
        bundle,
        _gateways(claims["gateways"]),
        claims["aud"],
        claims["jti"],
        datetime.fromtimestamp(claims["iat"], UTC),
        datetime.fromtimestamp(claims["exp"], UTC),
    )


def _zone(uri: str) -> ZoneId:
    domain, _, name = uri.removeprefix("spiffe://").partition(_URI)
    try:
        zone = ZoneId(names.trust_domain(domain), names.zone_name(name))
    except names.InvalidNameError as error:
        raise PeeringTokenError(f"is from no zone ({error})") from error
    if zone.uri != uri:
        raise PeeringTokenError(f"is from {uri!r}, which is no zone")
    return zone


def _gateways(found: object) -> tuple[Gateway, ...]:
    gateways = []
    for each in found if isinstance(found, list) else ():
        match each:
            case [str(address), int(port)] if 0 < port <= _MAX_PORT and _is_ip(address):
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
