"""The way from a certificate to a root: found among candidates, and verified.

Verification is cryptography's own X.509 path validation (signatures, validity, CA flags, path
lengths, key usages, extended key usage); here is only what the mesh adds: which moment counts, and
where a chain comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from mesh.ca.bundle import is_root, issued_by


class UntrustedChainError(ValueError):
    """A chain does not lead to a trusted root at the given moment."""


def find_path(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """Return the chain from ``certificate`` up to below a root, and the root.

    The chain of a root is empty.

    Raises:
        UntrustedChainError: the candidates do not lead to a self-signed root.

    """
    if is_root(certificate):
        return (), certificate
    pool = tuple(dict.fromkeys(candidates))
    chain = [certificate]
    while len(chain) <= len(pool) + 1:
        signers = [other for other in pool if other != chain[-1] and issued_by(chain[-1], other)]
        root = next((signer for signer in signers if is_root(signer)), None)
        if root is not None:
            return tuple(chain), root
        upwards = next((signer for signer in signers if signer not in chain), None)
        if upwards is None:
            break
        chain.append(upwards)
    raise UntrustedChainError(
        f"no self-signed root stands above {chain[-1].subject.rfc4514_string() or 'the leaf'!r}"
    )


def verify(
    chain: Sequence[x509.Certificate], roots: Iterable[x509.Certificate], at: datetime
) -> None:
    """Check that ``chain`` (leaf first) leads to one of ``roots``, all valid ``at`` that moment.

    Raises:
        UntrustedChainError: it does not.

    """
    builder = PolicyBuilder().store(Store(list(roots))).time(at)
    try:
        # A client: its names are read from the certificate instead of being expected.
        builder.build_client_verifier().verify(chain[0], list(chain[1:]))
    except VerificationError as error:
        raise UntrustedChainError(str(error)) from error


def sole_uri(certificate: x509.Certificate) -> str:
    """Return the URI of a certificate that has exactly one, or nothing.

    DNS names beside it do not matter.
    """
    uris = [name.value for name in names(certificate) if _is_uri(name)]
    return str(uris[0]) if len(uris) == 1 else ""


def names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """Return the subject alternative names, none if there is no such extension."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value)


def _is_uri(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier)
