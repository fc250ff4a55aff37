"""Identity as values: SDS files, pins, and when to renew."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent import identity
from mesh.agent.errors import ProofError
from mesh.agent.identity import Svid
from tests.agent.fakezone import DOMAIN, TOKEN_ID, FakeZone
from tests.agent.pki import Authority

START = datetime(2026, 1, 1, tzinfo=UTC)
SVID = Svid(DOMAIN, "dc1", "web", "0a", START, START + timedelta(hours=24), ("10.0.0.1:5679",))


def test_what_is_written_is_read() -> None:
    assert Svid.from_json(SVID.to_json()) == SVID
    assert identity.read_identity_secret(identity.identity_secret("c", "k")) == ("c", "k")
    assert identity.read_bundle_secret(identity.bundle_secret("b")) == "b"


@given(st.floats(0, 1, exclude_max=True), st.floats(1, 10_000))
def test_renewal_leaves_half_the_life_to_succeed_in(jitter: float, hours: float) -> None:
    life = timedelta(hours=hours)
    svid = Svid(DOMAIN, "dc1", "web", "0a", START, START + life, ())
    assert START + life * 0.39 < svid.renew_at(jitter) <= START + life / 2


def test_it_is_valid_until_it_expires() -> None:
    assert SVID.valid(SVID.not_after - timedelta(seconds=1))
    assert not SVID.valid(SVID.not_after)
    assert "ago" in identity.expiry_in_words(SVID, SVID.not_after)


def test_only_the_pinned_root_is_taken_from_a_bundle() -> None:
    ours, strangers = Authority(DOMAIN).root, Authority(DOMAIN).root
    pin = identity.fingerprint(ours)
    assert identity.pinned_root(strangers + ours, pin) == ours
    assert identity.pinned_root(strangers, pin) is None
    assert identity.pinned_root("-----BEGIN CERTIFICATE-----\n!\n-----END", pin) is None


def test_a_join_token_names_its_zone_and_its_root() -> None:
    zone = FakeZone()
    pins = identity.pins_of_join_token(zone.join_token())
    root = identity.fingerprint(zone.authority.root)
    assert identity.token_id(zone.join_token()) == TOKEN_ID
    assert (pins.zone, pins.trust_domain, pins.fingerprint) == ("dc1", DOMAIN, root)


def token(claims: object) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode() + ".c2ln"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "e30.e30.e30",
        token([]),
        token({"iss": "spiffe://mesh.example/mesh/zone/dc1"}),
        token({"iss": "https://elsewhere", "ca": "sha256:00"}),
        token({"iss": "spiffe://mesh.example/mesh/zone/DC 1", "ca": "sha256:00"}),
    ],
)
def test_anything_else_is_no_join_token(text: str) -> None:
    with pytest.raises(ProofError, match="mesh token create"):
        identity.pins_of_join_token(text)
    assert identity.token_id(text) == ""
