"""TLS contexts from credentials that live in memory.

TLS 1.3 only.  Key exchange is OpenSSL's default: from OpenSSL 3.5 that prefers the hybrid
post-quantum X25519MLKEM768, before it X25519.  Python 3.11's ``ssl`` cannot set a list of groups
(``set_ecdh_curve`` takes one, and would forbid the others), so nothing is set here; Envoy, which
carries the workloads' bytes, is told in its own configuration.

``ssl`` reads a key from a file only.  On Linux that file is an anonymous one in memory; elsewhere
it is a 0600 file that is removed before this module returns.
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.ca.bundle import TrustBundle
from mesh.ca.issuer import Credentials
from mesh.model.identity import InvalidIdentityError, WorkloadId


class PeerIdentityError(Exception):
    """The peer's certificate names no workload; the message says what it has instead."""


def server_context(
    credentials: Credentials, bundle: TrustBundle, *, require_client: bool
) -> ssl.SSLContext:
    """Make a server's context; clients show a certificate of ``bundle``, or may go without."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, bundle)
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    # Resumption would carry a client's identity past its certificate's end.
    context.num_tickets = 0
    load_credentials(context, credentials)
    return context


def client_context(bundle: TrustBundle, credentials: Credentials | None = None) -> ssl.SSLContext:
    """Make a client's context, which believes ``bundle`` only and checks the server's name."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, bundle)
    context.check_hostname = True
    if credentials is not None:
        load_credentials(context, credentials)
    return context


def load_credentials(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Put ``credentials`` into ``context``; handshakes from now on use them.

    A context in use may be given new ones: connections that stand are left alone.
    """
    with _readable(credentials.chain_pem + credentials.private_key_pem) as path:
        context.load_cert_chain(path)


def peer_workload(connection: ssl.SSLObject | ssl.SSLSocket) -> WorkloadId | None:
    """Return who the peer is, or None if it showed no certificate.

    Raises:
        PeerIdentityError: its certificate has not exactly one name, a workload's canonical URI.

    """
    certificate = connection.getpeercert()
    if not certificate:
        return None
    # typeshed calls the values opaque: a tuple of (kind, value) pairs.
    names = certificate.get("subjectAltName", ())
    found = [tuple(map(str, name)) for name in names]
    match found:
        case [("URI", uri)]:
            try:
                return WorkloadId.parse(uri)
            except InvalidIdentityError as error:
                raise PeerIdentityError(str(error)) from error
        case _:
            shown = ", ".join(":".join(name) for name in found) or "none"
            raise PeerIdentityError(
                f"the peer's certificate has the names {shown}; exactly one URI is expected"
            )


def _context(protocol: ssl._SSLMethod, bundle: TrustBundle) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=bundle.pem)
    return context


@contextmanager
def _readable(text: str) -> Iterator[str]:
    if sys.platform == "linux":
        descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        descriptor, name = tempfile.mkstemp()
        try:
            os.write(descriptor, text.encode())
            yield name
        finally:
            os.close(descriptor)
            Path(name).unlink()
