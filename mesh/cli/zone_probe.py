"""What a zone's API shows to anybody who trusts the mesh: its certificate, its time, the bundle.

Asked without an admin token, so that a host which has only the trust bundle can ask.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from mesh.clients.zone import UntrustedZoneError, ZoneAddress, ZoneError, ZoneUnreachableError

_TIMEOUT: Final = 10.0
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """What was seen.  ``date`` is the zone's clock, whole seconds."""

    uri: str
    not_before: datetime
    not_after: datetime
    date: datetime | None
    bundle: Mapping[str, Any]


async def probe(address: ZoneAddress) -> Probe:
    """Ask the zone at ``address`` for the bundle.

    Raises:
        ZoneError: it does not answer, is not trusted, or is not a zone.

    """
    return await asyncio.to_thread(_probe, address)


def _probe(address: ZoneAddress) -> Probe:
    connection = http.client.HTTPSConnection(
        address.host, address.port, timeout=_TIMEOUT, context=_context(address)
    )
    try:
        connection.connect()
        certificate = _certificate(connection)
        uri = _zone_uri(certificate, address)
        connection.request("GET", "/v1/bundle")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != _OK or "bundle" not in body:
            raise ValueError(f"status {answer.status}")  # noqa: TRY301 - as any other bad answer
    except ssl.SSLCertVerificationError as error:
        raise UntrustedZoneError(
            f"the certificate at {address} is not from a root in {address.bundle_file}: "
            f"{error.verify_message}",
            remedy="fetch the mesh's current trust bundle, and check the address and the clocks",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ZoneUnreachableError(
            f"the zone's API at {address} does not answer: {error or type(error).__name__}",
            remedy="check that 'mesh zone' runs there, and the address given with --zone",
        ) from error
    except ValueError as error:
        raise ZoneError(
            f"the answer from {address} is not a zone's: {error}",
            remedy="check the address given with --zone",
        ) from error
    finally:
        connection.close()
    date = answer.getheader("Date")
    return Probe(
        uri,
        _time(certificate["notBefore"]),
        _time(certificate["notAfter"]),
        parsedate_to_datetime(date) if date else None,
        body,
    )


def _context(address: ZoneAddress) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The name is in the certificate's URI: who we reach is read there, below.
    context.check_hostname = False
    try:
        context.load_verify_locations(cafile=address.bundle_file)
    except OSError as error:
        raise ZoneError(
            f"the trust bundle {address.bundle_file} cannot be read: {error.strerror or error}",
            remedy="name the PEM file of the mesh's roots with --bundle "
            "(bundle.pem in the zone's data directory)",
        ) from error
    return context


def _certificate(connection: http.client.HTTPSConnection) -> Mapping[str, Any]:
    socket = connection.sock
    found = socket.getpeercert() if isinstance(socket, ssl.SSLSocket) else None
    if not found:
        raise ValueError("no certificate")
    return found


def _zone_uri(certificate: Mapping[str, Any], address: ZoneAddress) -> str:
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1 or "/mesh/zone/" not in uris[0]:
        raise UntrustedZoneError(
            f"what answers at {address} is {', '.join(uris) or 'nobody'}, not a zone",
            remedy="check the address given with --zone",
        )
    return str(uris[0])


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
