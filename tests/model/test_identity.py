"""SPIFFE ids print and parse to the same, and nothing else parses."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.identity import InvalidIdentityError, WorkloadId, ZoneId
from mesh.model.names import InvalidNameError, service_name, sni, trust_domain, zone_name

SERVICES = st.from_regex(
    re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?"), fullmatch=True
)
ZONES = st.from_regex(re.compile(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?"), fullmatch=True)
DOMAINS = st.from_regex(re.compile(r"[a-z0-9]([a-z0-9._-]{0,40}[a-z0-9])?"), fullmatch=True)


@given(DOMAINS, ZONES, SERVICES)
def test_every_valid_identity_survives_printing_and_parsing(
    domain: str, zone: str, service: str
) -> None:
    identity = WorkloadId(domain, zone, service)
    assert WorkloadId.parse(identity.uri) == identity


@given(st.text(max_size=120))
def test_what_parses_is_canonical(text: str) -> None:
    try:
        parsed = WorkloadId.parse(text)
    except InvalidIdentityError:
        return
    assert parsed.uri == text


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://td/ns/default/dc/dc1/svc/",
        "spiffe://td/ns/default/dc/dc1/svc/web/",
        "spiffe://td/ns/default/dc/dc1/svc/web?x",
        "spiffe://td/ns/other/dc/dc1/svc/web",
        "spiffe://TD/ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default/dc/dc1/svc/we%62",
        "spiffe://td/ns/default/dc/dc1/svc/../svc/web",
        "https://td/ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default/dc/dc1/svc/web\n",
    ],
)
def test_a_uri_that_is_not_canonical_is_refused(uri: str) -> None:
    with pytest.raises(InvalidIdentityError, match=re.escape(repr(uri))):
        WorkloadId.parse(uri)


def test_a_zone_is_no_workload() -> None:
    zone = ZoneId("td", "dc1")
    assert zone.server_name == "zone.dc1.td"
    with pytest.raises(InvalidIdentityError):
        WorkloadId.parse(zone.uri)


def test_the_server_name_is_consuls() -> None:
    assert sni("api", "dc1", "td") == "api.default.dc1.internal.td"
    assert sni("api", "dc1", "td", subset="v2") == "v2.api.default.dc1.internal.td"


@pytest.mark.parametrize("name", ["", "-a", "a-", "a.b", "a/b", "a b", "ä", "a" * 65, "*", "a\n"])
def test_a_name_outside_the_alphabet_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="service"):
        service_name(name)
    with pytest.raises(InvalidNameError, match="zone"):
        zone_name(name)


def test_a_trust_domain_is_lower_case() -> None:
    assert trust_domain("mesh.example-1.org") == "mesh.example-1.org"
    with pytest.raises(InvalidNameError, match="trust domain"):
        trust_domain("Mesh.example")
