"""Asking a peer's control plane, through its gateways.

Whoever answers must have a certificate of the peer's own roots that names the peer's zone; that is
known before anything is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from cryptography import x509

from mesh.ca import chain, tls
from mesh.ca.bundle import UNREADABLE, TrustBundle
from mesh.ca.issuer import Credentials
from mesh.model import hostport
from mesh.model.identity import ZoneId
from mesh.model.zones import Gateway

_LARGEST: Final = 1 << 20
_CONNECT: Final = 5.0
_TIMEOUT: Final = 30.0


class PeerError(Exception):
    """A peer could not be asked; the message says why."""


class PeerRefusedError(PeerError):
    """The peer answered with an error, in its own words."""


async def ask(
    gateways: Sequence[Gateway],
    zone: ZoneId,
    bundle: TrustBundle,
    method: str,
    path: str,
    *,
    by: str = "",
    credentials: Credentials | None = None,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Send a request as the peer ``by`` (without: as a newcomer) and return the answer.

    Raises:
        PeerError: none of the gateways led to an answer.

    """
    context = _context(zone, bundle, credentials)
    reasons = []
    for gateway in gateways:
        place = hostport.join(gateway.address, gateway.port)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                    timeout=aiohttp.ClientTimeout(total=_TIMEOUT, sock_connect=_CONNECT),
                ) as session,
                session.request(
                    method,
                    f"https://{place}{path}",
                    params=query,
                    json=body,
                    server_hostname=zone.peering_name(by),
                    allow_redirects=False,
                ) as answer,
            ):
                return _read(answer.status, await _body(answer, place), place)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reasons.append(f"{place}: {error or 'no answer in time'}")
    raise PeerError(
        f"the gateways of zone {zone.zone} lead to no answer ({'; '.join(reasons) or 'none known'})"
    )


async def _body(answer: aiohttp.ClientResponse, place: str) -> bytes:
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > _LARGEST:
            raise PeerError(f"the answer through {place} is longer than {_LARGEST} bytes")
    return bytes(found)


def _read(status: int, content: bytes, place: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise PeerError(f"the answer through {place} (status {status}) is not a zone's")
    if status >= HTTPStatus.BAD_REQUEST:
        remedy = f"; {found['remedy']}" if found.get("remedy") else ""
        raise PeerRefusedError(f"{found.get('error', f'it answered {status}')}{remedy}")
    return found


def _context(zone: ZoneId, bundle: TrustBundle, credentials: Credentials | None) -> ssl.SSLContext:
    class Named(ssl.SSLObject):
        """A connection whose handshake fails unless ``zone`` is at the other end."""

        def do_handshake(self) -> None:
            """Shake hands, and look who is there."""
            super().do_handshake()
            uri = _uri(self.getpeercert(binary_form=True))
            if uri != zone.uri:
                raise ssl.SSLCertVerificationError(
                    f"{uri or 'nobody'} answers, where {zone.uri} is expected"
                )

    context = tls.client_context(bundle, credentials)
    # The name that is asked for says who asks; who answers is told by the certificate's URI.
    context.check_hostname = False
    context.sslobject_class = Named
    return context


def _uri(certificate: bytes | None) -> str:
    try:
        return chain.sole_uri(x509.load_der_x509_certificate(certificate)) if certificate else ""
    except UNREADABLE as error:
        raise ssl.SSLCertVerificationError(f"its certificate is odd: {error}") from error
