"""A join token is believed only as this zone signed it, in its time, for its service."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.aio.clock import ManualClock
from mesh.ca import join_token_errors as errors
from mesh.ca.builtin import builtin_issuer
from mesh.ca.bundle import TrustBundle, from_pem
from mesh.ca.issuer import Credentials
from mesh.ca.join_tokens import Grant, JoinToken, Minted, Use, mint, verify
from mesh.model.identity import ZoneId
from tests.ca.making import WEB, ZONE, checked, p256, svid

HOUR = timedelta(hours=1)
NOW = ManualClock().now()
OTHER_ZONE = ZoneId("mesh.test", "dc2")


@dataclass
class Mint:
    """A zone that can mint, and a workload that cannot."""

    signer: Credentials
    other: Credentials
    workload: Credentials
    bundle: TrustBundle

    def token(self, grant: Grant, ttl: timedelta = HOUR) -> Minted:
        """Mint as the zone does."""
        return mint(
            grant,
            zone=ZONE,
            signer=self.signer,
            bundle=self.bundle,
            token_id="t1",
            now=NOW,
            ttl=ttl,
        )

    def signed(self, changes: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Make a token with other claims or headers, correctly signed."""
        claims = _claims(self.token(Grant(service="web")).token)
        claims = {key: value for key, value in {**claims, **changes}.items() if value is not None}
        x5c = {"x5c": _x5c(self.signer.chain_pem)}
        return jwt.encode(claims, self.signer.private_key, "ES256", headers=x5c | (header or {}))

    def verify(
        self,
        token: str,
        service: str = "web",
        after: timedelta = timedelta(),
        use: Use = Use.FIRST,
    ) -> JoinToken:
        """Verify as the zone does."""
        return verify(
            token, zone=ZONE, bundle=self.bundle, service=service, now=NOW + after, use=use
        )


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _x5c(pem: str) -> list[str]:
    der = serialization.Encoding.DER
    return [base64.b64encode(each.public_bytes(der)).decode() for each in from_pem(pem)]


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Mint:
    return asyncio.run(_make(tmp_path_factory.mktemp("zone") / "ca"))


async def _make(directory: Path) -> Mint:
    issuer = builtin_issuer(directory, ZONE, clock=ManualClock())
    await issuer.start()
    other = builtin_issuer(directory, OTHER_ZONE, clock=ManualClock())
    await other.start()
    key = p256()
    workload = svid(await issuer.sign(checked(WEB, key), 24 * HOUR), key)
    try:
        return Mint(
            await issuer.zone_identity(), await other.zone_identity(), workload, issuer.bundle()
        )
    finally:
        await issuer.close()
        await other.close()


def test_a_token_says_what_was_granted(zone: Mint) -> None:
    found = zone.verify(zone.token(Grant(service="web", reusable=True)).token)
    assert found == JoinToken(
        "t1", Grant(service="web", reusable=True), ZONE, zone.bundle.fingerprint, NOW, NOW + HOUR
    )


def test_a_prefix_covers_what_starts_with_it_and_nothing_else(zone: Mint) -> None:
    token = zone.token(Grant(prefix="team-a-")).token
    assert zone.verify(token, "team-a-web").grant.prefix == "team-a-"
    with pytest.raises(errors.WrongServiceError, match=r"'team-a-\*', not for 'team-b-web'"):
        zone.verify(token, "team-b-web")


@pytest.mark.parametrize(("service", "prefix"), [("", ""), ("web", "web"), ("a/b", ""), ("", "-")])
def test_a_grant_for_everybody_or_for_two_things_is_refused(service: str, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"name|one"):
        Grant(service=service, prefix=prefix)


def test_a_token_ends_with_its_signer(zone: Mint) -> None:
    minted = zone.token(Grant(service="web"), ttl=1000 * HOUR)
    assert minted.expires_at == zone.signer.not_after
    with pytest.raises(errors.ExpiredTokenError):
        zone.verify(minted.token, after=25 * HOUR)


def test_no_claim_lets_a_token_outlive_its_signer(zone: Mint) -> None:
    """Whoever got hold of a zone's old key shall not make tokens with it for ever."""
    token = zone.signed({"exp": int((NOW + 1000 * HOUR).timestamp())})
    with pytest.raises(errors.ExpiredTokenError):
        zone.verify(token, after=25 * HOUR)
    found = zone.verify(token, after=25 * HOUR, use=Use.REATTESTATION)
    assert found.expires_at == zone.signer.not_after


def test_an_expired_token_serves_for_reattestation_only(zone: Mint) -> None:
    token = zone.token(Grant(service="web")).token
    with pytest.raises(errors.ExpiredTokenError, match=r"expired at .*mesh token create"):
        zone.verify(token, after=HOUR)
    month = timedelta(days=30)
    assert zone.verify(token, after=month, use=Use.REATTESTATION).id == "t1"


def test_a_token_from_the_future_is_refused(zone: Mint) -> None:
    token = zone.token(Grant(service="web")).token
    assert zone.verify(token, after=-timedelta(seconds=50))
    for use in Use:
        with pytest.raises(errors.NotYetValidTokenError, match="clocks"):
            zone.verify(token, after=-timedelta(seconds=70), use=use)


def test_reattestation_needs_a_signer_that_was_valid_when_it_signed(zone: Mint) -> None:
    late = zone.signer.not_after + HOUR
    claims = {"iat": int(late.timestamp()), "exp": int((late + HOUR).timestamp())}
    with pytest.raises(errors.ExpiredTokenError, match="signed with a certificate that expired"):
        zone.verify(zone.signed(claims), after=60 * HOUR, use=Use.REATTESTATION)
    early = int((NOW - 1000 * HOUR).timestamp())
    with pytest.raises(errors.NotYetValidTokenError, match="before its signer was valid"):
        zone.verify(zone.signed({"iat": early}), use=Use.REATTESTATION)


def test_a_token_for_another_service_is_refused(zone: Mint) -> None:
    with pytest.raises(errors.WrongServiceError, match="'web', not for 'api'"):
        zone.verify(zone.token(Grant(service="web")).token, "api")


async def test_a_token_of_another_ca_is_foreign(zone: Mint, tmp_path: Path) -> None:
    issuer = builtin_issuer(tmp_path / "ca", ZONE, clock=ManualClock())
    await issuer.start()
    foreign = replace(zone, signer=await issuer.zone_identity())
    await issuer.close()
    with pytest.raises(errors.ForeignTokenError, match=r"not signed below the CA of mesh\.test"):
        zone.verify(foreign.token(Grant(service="web")).token)


@pytest.mark.parametrize("who", ["other", "workload"])
@pytest.mark.parametrize("pretend", [True, False])
def test_nobody_else_below_the_ca_can_vouch(zone: Mint, who: str, *, pretend: bool) -> None:
    signer: Credentials = getattr(zone, who)
    uri = OTHER_ZONE.uri if who == "other" else WEB.uri
    claims = _claims(zone.token(Grant(service="web")).token) | ({} if pretend else {"iss": uri})
    headers = {"x5c": _x5c(signer.chain_pem)}
    with pytest.raises(errors.ForeignTokenError, match="from"):
        zone.verify(jwt.encode(claims, signer.private_key, "ES256", headers=headers))


def test_a_token_for_another_trust_domain_is_foreign(zone: Mint) -> None:
    with pytest.raises(errors.ForeignTokenError, match=r"trust domain 'other\.test'"):
        zone.verify(zone.signed({"aud": "other.test"}))


def test_a_changed_token_is_tampered_with(zone: Mint) -> None:
    header, _, signature = zone.token(Grant(service="web")).token.split(".")
    claims = _claims(zone.token(Grant(service="web")).token) | {"svc": "db"}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(errors.TamperedTokenError, match="exactly as"):
        zone.verify(f"{header}.{body}.{signature}", "db")


def test_a_key_that_is_not_the_certificates_is_tampering(zone: Mint) -> None:
    impostor = replace(zone, signer=replace(zone.signer, private_key=p256()))
    with pytest.raises(errors.TamperedTokenError):
        zone.verify(impostor.token(Grant(service="web")).token)


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "1"},
        {"jku": "https://evil.example/jwks"},
        {"jwk": {"kty": "EC"}},
        {"x5u": "https://evil.example/chain"},
        {"crit": ["exp"]},
        {"x5c": []},
        {"x5c": "MII"},
        {"x5c": ["%%%"]},
        {"x5c": ["aGVsbG8="]},
        {"x5c": [1]},
        {"x5c": ["aGVsbG8="] * 6},
    ],
)
def test_headers_that_point_elsewhere_are_refused(zone: Mint, header: dict[str, Any]) -> None:
    with pytest.raises(errors.MalformedTokenError):
        zone.verify(zone.signed({}, header))


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": None},
        {"jti": ""},
        {"ca": None},
        {"iat": None},
        {"exp": None},
        {"exp": True},
        {"exp": -1},
        {"exp": 10**18},
        {"reuse": None},
        {"reuse": "yes"},
        {"svc": None},
        {"svc": 7},
        {"pfx": "w"},
        {"svc": "a/b"},
        {"admin": True},
    ],
)
def test_claims_that_are_missing_or_odd_are_refused(zone: Mint, changes: dict[str, Any]) -> None:
    with pytest.raises(errors.MalformedTokenError):
        zone.verify(zone.signed(changes))


def test_the_algorithm_is_pinned(zone: Mint) -> None:
    claims = _claims(zone.token(Grant(service="web")).token)
    headers = {"x5c": _x5c(zone.signer.chain_pem)}
    for token in (
        jwt.encode(claims, "", "none", headers=headers),
        jwt.encode(claims, "k" * 32, "HS256", headers=headers),
        jwt.encode(claims, ec.generate_private_key(ec.SECP384R1()), "ES384", headers=headers),
    ):
        with pytest.raises(errors.MalformedTokenError, match="not ES256"):
            zone.verify(token)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_text_of_any_kind_is_refused_and_never_crashes(zone: Mint, text: str) -> None:
    with pytest.raises(errors.JoinTokenError):
        zone.verify(text)


def test_an_oversize_token_is_refused(zone: Mint) -> None:
    with pytest.raises(errors.MalformedTokenError, match="longer than"):
        zone.verify("x" * 20_000)
