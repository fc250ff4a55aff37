"""Only a request for exactly the proven identity, with a sound key, is worth signing."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from mesh.ca.csr import check_csr
from mesh.model.identity import WorkloadId
from mesh.model.violations import InvalidInputError
from tests.ca.making import API, WEB, Key, csr, p256, uri


@pytest.mark.parametrize(
    "key",
    [
        p256(),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa2048"],
)
def test_a_request_for_ones_own_identity_is_accepted(key: Key) -> None:
    found = check_csr(csr([uri(WEB.uri)], key), WEB)
    assert found.identity == WEB
    assert found.public_key == key.public_key()
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert found.spki_sha256 == hashlib.sha256(spki).hexdigest()


def _tampered() -> str:
    lines = csr([uri(WEB.uri)]).splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    body = base64.b64encode(bytes(der)).decode()
    return f"{lines[0]}\n{body}\n{lines[-1]}\n"


WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
DNS = x509.DNSName("web.example")
IP = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
MAIL = x509.RFC822Name("a@example.org")


@pytest.mark.parametrize(
    ("pem", "reasons"),
    [
        ("", ["cannot be read"]),
        ("garbage", ["cannot be read"]),
        (csr([uri(WEB.uri)])[:200], ["cannot be read"]),
        ("x" * 16_385, ["at most 16384"]),
        (_tampered(), ["signature"]),
        (csr(), ["subjectAltName: is missing"]),
        (csr([DNS]), ["not a URI"]),
        (csr([IP]), ["not a URI"]),
        (csr([MAIL]), ["not a URI"]),
        (csr([uri(WEB.uri), DNS]), ["has 2 names", "subjectAltName[1]: is a DNSName"]),
        (csr([uri(WEB.uri), uri(WEB.uri)]), ["has 2 names"]),
        (csr([uri(WEB.uri), uri(API.uri)]), ["has 2 names", f"claims {API.uri}"]),
        (csr([uri(API.uri)]), [f"claims {API.uri}, but the proof is for {WEB.uri}"]),
        (csr([uri(WEB.uri + "/")]), ["is not a workload identity"]),
        (csr([uri(WEB.uri.replace("web", "we%62"))]), ["is not a workload identity"]),
        (csr([uri("spiffe://mesh.test/mesh/zone/dc1")]), ["is not a workload identity"]),
        (csr([uri(WEB.uri)], ca=True), ["CA:true"]),
        (csr([uri(WEB.uri)], WEAK_RSA), ["RSA of 1024"]),
        (csr([uri(WEB.uri)], ec.generate_private_key(ec.SECP256K1())), ["secp256k1"]),
        (csr([uri(WEB.uri)], ec.generate_private_key(ec.SECP521R1())), ["secp521r1"]),
    ],
)
def test_a_bad_request_is_refused_with_its_reasons(pem: str, reasons: list[str]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_csr(pem, WEB)
    for reason in reasons:
        assert reason in str(refused.value)


def test_every_reason_is_given_at_once() -> None:
    key = WEAK_RSA
    with pytest.raises(InvalidInputError) as refused:
        check_csr(csr([uri(API.uri), DNS], key, ca=True), WEB)
    paths = {violation.path for violation in refused.value.violations}
    assert paths == {
        "key",
        "basicConstraints",
        "subjectAltName",
        "subjectAltName[0]",
        "subjectAltName[1]",
    }


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        check_csr(data, WEB)


@given(
    st.from_regex(re.compile(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?"), fullmatch=True),
    st.from_regex(re.compile(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?"), fullmatch=True),
    st.from_regex(re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,20}[A-Za-z0-9])?"), fullmatch=True),
)
def test_a_uri_that_parses_prints_the_same(domain: str, zone: str, service: str) -> None:
    written = f"spiffe://{domain}/ns/default/dc/{zone}/svc/{service}"
    assert WorkloadId.parse(written).uri == written
