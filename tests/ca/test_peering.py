"""Peering tokens: whole, for this zone, now; anything else is refused with its reason."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.ca import join_tokens, peering
from mesh.ca.builtin import builtin_issuer
from mesh.ca.issuer import Credentials
from mesh.ca.join_token_errors import JoinTokenError
from mesh.ca.local import LocalIssuer
from mesh.ca.peering import INTRODUCTION, TOKEN, PeeringTokenError, Word, invited, read, sign
from mesh.model.identity import ZoneId
from mesh.model.zones import Gateway

WEST = ZoneId("west.example", "west")
FOR = invited("partner")


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[LocalIssuer]:
    found = builtin_issuer(tmp_path / "west", WEST)
    await found.start()
    yield found
    await found.close()


@pytest.fixture
async def signer(issuer: LocalIssuer) -> Credentials:
    return await issuer.zone_identity()


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the issuer's own clock


@pytest.fixture
def word(issuer: LocalIssuer, now: datetime) -> Word:
    gateways = (Gateway("192.0.2.1", 10001), Gateway("2001:db8::1", 10001))
    return Word(WEST, issuer.bundle(), gateways, FOR, "0" * 32, now, now + timedelta(hours=1))


def test_what_is_signed_is_read(word: Word, signer: Credentials, now: datetime) -> None:
    assert read(TOKEN, sign(TOKEN, word, signer), audience=FOR, now=now) == word


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found


_OTHERS: dict[str, object] = {
    "iss": "spiffe://west.example/mesh/zone/other",
    "aud": "zone other",
    "jti": "1" * 32,
    "bundle": "-----BEGIN CERTIFICATE-----\n",
    "iat": 1,
    "exp": 4_000_000_000,
    "gateways": [["192.0.2.9", 1]],
}


@pytest.mark.parametrize("claim", sorted(_OTHERS))
def test_no_claim_can_be_changed(
    claim: str, word: Word, signer: Credentials, now: datetime
) -> None:
    token = sign(TOKEN, word, signer)
    changed = json.dumps({**_claims(token), claim: _OTHERS[claim]}).encode()
    header, _, signature = token.split(".")
    body = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    with pytest.raises(PeeringTokenError, match="signature"):
        read(TOKEN, f"{header}.{body}.{signature}", audience=FOR, now=now)


def _signed(
    change: Callable[[dict[str, Any]], None], word: Word, signer: Credentials, **header: object
) -> str:
    claims = _claims(sign(TOKEN, word, signer))
    change(claims)
    original = jwt.get_unverified_header(sign(TOKEN, word, signer))
    headers = {"typ": TOKEN, "x5c": original["x5c"], **header}
    return jwt.encode(claims, signer.private_key, "ES256", headers=headers)


@pytest.mark.parametrize(
    ("claim", "value", "reason"),
    [
        ("iss", "spiffe://west.example/mesh/zone/other", "another signed it"),
        ("iss", "spiffe://west.example/ns/default/dc/west/svc/api", "no zone"),
        ("iss", "https://west.example", "no zone"),
        ("aud", "zone other", "is for zone other"),
        ("bundle", "nothing", "carries no roots"),
        ("iat", True, "no time"),
        ("iat", 3_999_999_999, "in the future"),
        ("exp", 1, "expired"),
        ("exp", "soon", "no time"),
        ("jti", "", "lacks the claim"),
        ("gateways", [], "no gateway"),
        ("gateways", [["gateway.example", 1]], "no gateway"),
        ("gateways", [["192.0.2.1", 70_000]], "no gateway"),
        ("surprise", 1, "other claims"),
    ],
)
def test_what_was_signed_must_make_sense(
    claim: str, value: object, reason: str, *, word: Word, signer: Credentials, now: datetime
) -> None:
    token = _signed(lambda claims: claims.update({claim: value}), word, signer)
    with pytest.raises(PeeringTokenError, match=reason):
        read(TOKEN, token, audience=FOR, now=now)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": INTRODUCTION}, "is a mesh-peering-introduction"),
        ({"x5c": []}, "1 to 5 certificates"),
        ({"x5c": ["AAAA"]}, "cannot be read"),
        ({"kid": "1"}, "another header"),
    ],
)
def test_a_header_is_as_ours(
    header: dict[str, object], reason: str, word: Word, signer: Credentials, now: datetime
) -> None:
    token = _signed(lambda _: None, word, signer, **header)
    with pytest.raises(PeeringTokenError, match=reason):
        read(TOKEN, token, audience=FOR, now=now)


def test_a_certificate_of_no_version_cannot_be_read(
    word: Word, signer: Credentials, now: datetime
) -> None:
    (leaf, *_) = jwt.get_unverified_header(sign(TOKEN, word, signer))["x5c"]
    odd = base64.b64decode(leaf).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    token = _signed(lambda _: None, word, signer, x5c=[base64.b64encode(odd).decode()])
    with pytest.raises(PeeringTokenError, match="cannot be read"):
        read(TOKEN, token, audience=FOR, now=now)


async def test_nobody_signs_for_roots_that_are_not_his(
    word: Word, tmp_path: Path, now: datetime
) -> None:
    other = builtin_issuer(tmp_path / "other", WEST)
    await other.start()
    forged = sign(TOKEN, word, await other.zone_identity())
    await other.close()
    with pytest.raises(PeeringTokenError, match="roots that it names"):
        read(TOKEN, forged, audience=FOR, now=now)


def test_another_key_is_noticed(word: Word, signer: Credentials, now: datetime) -> None:
    stolen = replace(signer, private_key=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(PeeringTokenError, match="signature"):
        read(TOKEN, sign(TOKEN, word, stolen), audience=FOR, now=now)


def test_a_join_token_is_no_peering_token(
    issuer: LocalIssuer, signer: Credentials, now: datetime
) -> None:
    made = join_tokens.mint(
        join_tokens.Grant("web"),
        zone=WEST,
        signer=signer,
        bundle=issuer.bundle(),
        token_id="1",
        now=now,
        ttl=timedelta(hours=1),
    )
    with pytest.raises(PeeringTokenError, match="is a JWT"):
        read(TOKEN, made.token, audience=FOR, now=now)


def test_a_peering_token_is_no_join_token(
    word: Word, issuer: LocalIssuer, signer: Credentials, now: datetime
) -> None:
    token = sign(TOKEN, word, signer)
    with pytest.raises(JoinTokenError):
        join_tokens.verify(token, zone=WEST, bundle=issuer.bundle(), service="web", now=now)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "x" * (peering.MAX_CHARACTERS + 1)])
def test_what_is_no_token_at_all(text: str, now: datetime) -> None:
    with pytest.raises(PeeringTokenError):
        read(TOKEN, text, audience=FOR, now=now)
