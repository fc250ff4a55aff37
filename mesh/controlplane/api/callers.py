"""Who calls: an administrator by his token, a workload by its certificate."""

from __future__ import annotations

import hmac
import ssl
from typing import Final

from aiohttp import web
from cryptography import x509

from mesh.ca import certificates
from mesh.ca.tls import PeerIdentityError, peer_workload
from mesh.controlplane.api.errors import ApiError
from mesh.controlplane.api.route import Peer
from mesh.model.identity import ZoneId

_BEARER: Final = "Bearer "
_NO_CERTIFICATE: Final = "the call shows no client certificate"


def check_admin(request: web.Request, admin_token: str) -> None:
    """Let an administrator in.

    Raises:
        ApiError: the token is missing or wrong.

    """
    header = request.headers.get("Authorization", "")
    token = header.removeprefix(_BEARER) if header.startswith(_BEARER) else ""
    # Compared in constant time: how long it takes tells nothing of where it differs.
    if not token or not hmac.compare_digest(token.encode(), admin_token.encode()):
        raise ApiError(
            401,
            "the admin token is wrong" if token else "no admin token was sent",
            remedy="send 'Authorization: Bearer <token>' with the content of the zone's "
            "admin token file",
            headers={"WWW-Authenticate": 'Bearer realm="mesh"'},
        )


def check_workload(request: web.Request, zone: ZoneId) -> Peer:
    """Let a workload of the mesh in; TLS has verified its chain.

    Raises:
        ApiError: it shows no certificate, or one that is not a workload's.

    """
    connection = request.transport.get_extra_info("ssl_object") if request.transport else None
    if not isinstance(connection, ssl.SSLObject):
        raise _unauthenticated(_NO_CERTIFICATE)
    try:
        identity = peer_workload(connection)
    except PeerIdentityError as error:
        raise _unauthenticated(str(error)) from error
    der = connection.getpeercert(binary_form=True)
    if identity is None or der is None:
        raise _unauthenticated(_NO_CERTIFICATE)
    if identity.trust_domain != zone.trust_domain:
        raise _unauthenticated(f"{identity.uri} is not of {zone.trust_domain!r}")
    return Peer(identity, certificates.serial(x509.load_der_x509_certificate(der)))


def _unauthenticated(error: str) -> ApiError:
    return ApiError(
        401,
        error,
        remedy="connect with the workload's current certificate; if it expired, enrol again",
    )
