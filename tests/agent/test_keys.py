"""Keys, signing requests, and the child process that makes them."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.agent import keys
from mesh.agent.errors import AgentError
from mesh.agent.workshop import Workshop
from tests.agent.pki import Authority

URI = "spiffe://mesh.example/ns/default/dc/dc1/svc/web"


def test_a_request_asks_for_one_uri_and_nothing_else() -> None:
    key = keys.new_key()
    request = x509.load_pem_x509_csr(keys.signing_request(key, URI).encode())
    (extension,) = request.extensions
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    assert [name.value for name in extension.value] == [URI]
    assert request.is_signature_valid
    assert isinstance(request.public_key(), ec.EllipticCurvePublicKey)


def test_a_key_given_is_used() -> None:
    key = keys.new_key()
    said = keys.answer({"do": "request", "uri": URI, "key": key})
    assert said["key"] == key
    private = serialization.load_pem_private_key(key.encode(), None)
    request = x509.load_pem_x509_csr(said["csr"].encode())
    assert request.public_key() == private.public_key()


def test_a_certificate_for_another_name_or_key_is_refused() -> None:
    chain, key = Authority("mesh.example").leaf(uri=URI)
    assert keys.inspect(chain, key, URI)["not_after"].startswith("2099")
    assert (
        "not for" in keys.answer({"do": "inspect", "chain": chain, "key": key, "uri": "x"})["error"]
    )
    other = keys.new_key()
    said = keys.answer({"do": "inspect", "chain": chain, "key": other, "uri": URI})
    assert "another key" in said["error"]


async def test_the_child_answers_and_its_refusals_are_errors() -> None:
    with Workshop() as workshop:
        key, _ = await workshop.request(URI)
        assert "PRIVATE KEY" in key
        chain, _ = Authority("mesh.example").leaf(uri=URI)
        with pytest.raises(AgentError, match="another key"):
            await workshop.inspect(chain, key, URI)
