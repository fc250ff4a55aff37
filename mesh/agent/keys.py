"""Keys and signing requests, made in a child process: ``python -m mesh.agent.keys``.

The cryptography library takes 8 MB, and is needed for a moment twice a day; so it lives in a child
that ends with its work.  The child reads one JSON object a line on its standard input and answers
each with one on its standard output; nothing secret is ever an argument or a file.

:class:`mesh.agent.workshop.Workshop` is the parent's side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def new_key() -> str:
    """Return a new P-256 key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def signing_request(key: str, uri: str) -> str:
    """Return a CSR by ``key`` that asks for ``uri`` and nothing else."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    return _request(_private(key), names)


def inspect(chain: str, key: str, uri: str) -> dict[str, str]:
    """Return when the first certificate of ``chain`` is valid, if it is ``key``'s and ``uri``'s.

    Raises:
        ValueError: it certifies another key or another name.

    """
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    private = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or (
        leaf.public_key() != private.public_key()
    ):
        raise ValueError("the certificate is of another key")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    if found != [uri]:
        raise ValueError(f"the certificate is for {', '.join(found) or 'nobody'}, not for {uri}")
    return _validity(leaf)


def server_request(names: Sequence[str]) -> dict[str, str]:
    """Return a new key and its CSR for a server of the DNS ``names``; whoever signs names it."""
    key = new_key()
    found = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return {"key": key, "csr": _request(_private(key), found)}


def server_inspect(chain: str, key: str) -> dict[str, str]:
    """Return when the first certificate of ``chain`` is valid, if it is ``key``'s.

    Raises:
        ValueError: it certifies another key, or one of the two cannot be read.

    """
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    private = serialization.load_pem_private_key(key.encode(), None)
    if private.public_key() != leaf.public_key():
        raise ValueError("the certificate is of another key")
    return _validity(leaf)


def server_chain(leaf: str, issuers: Sequence[str]) -> dict[str, str]:
    """Return ``leaf`` and those of ``issuers`` that lead towards a root, each above the one before.

    A root is the client's own: whoever sends it along only makes the handshake longer.

    Raises:
        ValueError: one of them cannot be read.

    """
    found = [x509.load_pem_x509_certificates(leaf.encode())[0]]
    above = [one for pem in issuers for one in x509.load_pem_x509_certificates(pem.encode())]
    between = [one for one in above if not _signed_by(one, one)]
    while True:
        nearer = (one for one in between if one not in found and _signed_by(found[-1], one))
        issuer = next(nearer, None)
        if issuer is None:
            break
        found.append(issuer)
    pem = (one.public_bytes(serialization.Encoding.PEM).decode() for one in found)
    return {"chain": "".join(pem)}


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    private = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("the enrolment key is not an elliptic curve key")
    return private


def _request(key: ec.EllipticCurvePrivateKey, names: x509.SubjectAlternativeName) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _validity(leaf: x509.Certificate) -> dict[str, str]:
    return {
        "not_before": leaf.not_valid_before_utc.isoformat(),
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "serial": f"{leaf.serial_number:x}",
    }


def answer(question: dict[str, Any]) -> dict[str, str]:
    """Do what one line asks for; a refusal is an answer too."""
    try:
        if question["do"] == "server request":
            return server_request(question["names"])
        if question["do"] == "server chain":
            return server_chain(question["leaf"], question["issuers"])
        if question["do"] == "server inspect":
            return server_inspect(question["chain"], question["key"])
        if question["do"] == "inspect":
            return inspect(question["chain"], question["key"], question["uri"])
        key = question.get("key") or new_key()
        return {"key": key, "csr": signing_request(key, question["uri"])}
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return {"error": str(error)}


def main() -> None:
    """Answer every line until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
