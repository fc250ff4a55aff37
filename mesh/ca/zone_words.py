"""Words that a zone signs: JWTs (ES256) by the key of its own certificate.

The signer's certificates travel in the header (``x5c``, RFC 7515 section 4.1.6), and its key is
there and nowhere else: a header that names one elsewhere is refused.  Whose word counts, for what
and when is for those to say who make it: :mod:`mesh.ca.join_tokens`, :mod:`mesh.ca.peering`.

Nothing here reads a clock or a file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca.bundle import UNREADABLE, from_pem
from mesh.ca.issuer import Credentials

ALGORITHM: Final = "ES256"
SKEW: Final = timedelta(seconds=60)
"""By how much the clock of a zone may be ahead."""
_JWT: Final = "JWT"
_MAX_CHAIN: Final = 5
_HEADER: Final = frozenset({"alg", "typ", "x5c"})
_MAX_TIME: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_UNCHECKED: Final = ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")


class WordError(Exception):
    """What was shown is no word of a zone; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class MalformedWordError(WordError):
    """It is not of the shape that ours have."""


class ForeignWordError(WordError):
    """It was signed with a key as no zone has one."""


class TamperedWordError(WordError):
    """Its signature does not fit its content."""


def sign(claims: Mapping[str, Any], signer: Credentials, *, kind: str = _JWT) -> str:
    """Write ``claims`` as a word of that ``kind`` (``typ`` in the header)."""
    certificates = [
        base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode()
        for each in from_pem(signer.chain_pem)
    ]
    headers = {"typ": kind, "x5c": certificates}
    return jwt.encode(dict(claims), signer.private_key, ALGORITHM, headers=headers)


def signers(text: str, *, most: int, kind: str = _JWT) -> tuple[x509.Certificate, ...]:
    """Return the certificates that ``text``, of at most ``most`` characters, came with.

    The first is that of the key which signed it; that it did is not known before :func:`claims`.

    Raises:
        MalformedWordError: it is no word of that ``kind``.

    """
    if len(text) > most:
        raise MalformedWordError(f"is longer than {most} characters")
    try:
        header = jwt.get_unverified_header(text)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise MalformedWordError(f"is not a JWT ({error})") from error
    if unknown := sorted(set(header) - _HEADER):
        raise MalformedWordError(f"has another header than ours have ({', '.join(unknown)})")
    if header.get("alg") != ALGORITHM:
        raise MalformedWordError(f"is signed with {header.get('alg')!r}, not {ALGORITHM}")
    if header.get("typ") != kind:
        raise MalformedWordError(f"is a {header.get('typ')}, not a {kind}")
    encoded = header.get("x5c")
    if not isinstance(encoded, list) or not 0 < len(encoded) <= _MAX_CHAIN:
        raise MalformedWordError(f"does not carry 1 to {_MAX_CHAIN} certificates of its signer")
    try:
        return tuple(
            x509.load_der_x509_certificate(base64.b64decode(each, validate=True))
            for each in encoded
        )
    except (*UNREADABLE, TypeError) as error:
        raise MalformedWordError("carries a certificate that cannot be read") from error


def claims(text: str, signer: x509.Certificate) -> Mapping[str, Any]:
    """Return what ``text`` says, if ``signer`` signed it.  Nothing of it has been judged yet.

    Raises:
        WordError: another signed it, or nobody whose key is a zone's.

    """
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ForeignWordError("was not signed with a zone's EC P-256 key")
    options: Any = {f"verify_{each}": False for each in _UNCHECKED}
    try:
        found: Mapping[str, Any] = jwt.decode(text, key, algorithms=[ALGORITHM], options=options)
    except jwt.InvalidSignatureError as error:
        raise TamperedWordError("has a signature that does not fit its content") from error
    except jwt.InvalidTokenError as error:
        raise MalformedWordError(f"cannot be read ({error})") from error
    return found


def check_claims(said: Mapping[str, Any], *, texts: Iterable[str], times: Iterable[str]) -> None:
    """Refuse claims of which one that must be a text, or a time, is none.

    Raises:
        MalformedWordError: it names the claim.

    """
    for name in texts:
        if not isinstance(said.get(name), str) or not said[name]:
            raise MalformedWordError(f"lacks the claim {name!r}")
    for name in times:
        # A bool is an int in Python, and no time.
        if type(said.get(name)) is not int or not 0 < said[name] < _MAX_TIME:
            raise MalformedWordError(f"has no time in the claim {name!r}")


def moment(said: Mapping[str, Any], name: str) -> datetime:
    """Return the time in the claim ``name``, which was checked."""
    return datetime.fromtimestamp(said[name], UTC)
