"""MeshExternalService: hosts outside the mesh, and the TLS that the proxy speaks to them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.model.destinations import External, Host
from mesh.model.services import Protocol
from mesh.policies.kinds import timeout
from mesh.policies.kinds.external_service import KIND, external
from tests.policies.kinds.reading import document, violations


@pytest.fixture(scope="module")
def authority() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=9999))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _external(spec: str) -> tuple[External, Protocol]:
    return external(document(KIND, spec, name="payments"))


def test_plain_hosts() -> None:
    found = _external(
        "endpoints: [{address: db.example.com, port: 5432}, {address: 'FE80::1', port: 1}]"
    )
    assert found == (
        External((Host("db.example.com", 5432), Host("fe80::1", 1))),
        Protocol.TCP,
    )


def test_tls_with_everything_said(authority: str) -> None:
    found = _external(
        f"""
        match: {{protocol: grpc}}
        endpoints: [{{address: 192.0.2.1, port: 443}}]
        tls:
          sni: pay.example.com
          subjectAltNames: [a.example.com, b.example.com]
          caCert: {json.dumps(authority)}
        """
    )
    assert found == (
        External(
            (Host("192.0.2.1", 443),),
            tls=True,
            sni="pay.example.com",
            names=("a.example.com", "b.example.com"),
            ca=authority,
        ),
        Protocol.GRPC,
    )


def test_verification_can_be_skipped_and_tls_disabled() -> None:
    endpoints = "endpoints: [{address: a, port: 1}]"
    skipped, _ = _external(f"{endpoints}\ntls: {{verification: SkipAll}}")
    assert skipped == External((Host("a", 1),), tls=True, verify=False)
    disabled, _ = _external(f"{endpoints}\ntls: {{enabled: false}}")
    assert disabled == External((Host("a", 1),))


def test_another_kind_of_document_is_no_external_service() -> None:
    other = document(timeout.KIND, "to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 1s}}]")
    with pytest.raises(TypeError, match="MeshTimeout one"):
        external(other)


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        targetRef: {kind: Mesh}
        to: []
        match: {protocol: udp}
        endpoints:
          - {address: 300.1.1.1, port: 0}
          - {address: "a b", port: 70000}
          - {address: -, path: /}
        tls: {caCert: nothing, verification: Maybe}
        """,
    )
    assert set(found) == {
        "spec.targetRef",
        "spec.to",
        "spec.match.protocol",
        "spec.endpoints[0].address",
        "spec.endpoints[0].port",
        "spec.endpoints[1].address",
        "spec.endpoints[1].port",
        "spec.endpoints[2].address",
        "spec.endpoints[2].port",
        "spec.endpoints[2].path",
        "spec.tls.caCert",
        "spec.tls.verification",
    }


@pytest.mark.parametrize(
    ("tls", "path"),
    [
        ("{enabled: false, sni: a}", "spec.tls"),
        ("{verification: SkipAll, subjectAltNames: [a]}", "spec.tls"),
        ("{caCert: '-----BEGIN PRIVATE KEY-----'}", "spec.tls.caCert"),
    ],
)
def test_contradictions_and_keys_are_refused(tls: str, path: str) -> None:
    assert set(violations(KIND, f"endpoints: [{{address: a, port: 1}}]\ntls: {tls}")) == {path}


def test_an_endpoint_is_needed() -> None:
    assert set(violations(KIND, "endpoints: []")) == {"spec.endpoints"}
