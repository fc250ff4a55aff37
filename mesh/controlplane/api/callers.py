"""Who calls: an administrator by his token, a workload by its certificate."""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Mapping
from typing import Final, Protocol

from aiohttp import web
from cryptography import x509

from mesh.ca import certificates, chain
from mesh.ca.tls import PeerIdentityError, peer_workload
from mesh.controlplane.api.errors import ApiError
from mesh.controlplane.api.route import Caller, Peer
from mesh.controlplane.peering.tls import NEWCOMER
from mesh.model.identity import ZoneId
from mesh.model.zones import Zone

_BEARER: Final = "Bearer "
_NO_CERTIFICATE: Final = "the call shows no client certificate"

logger = logging.getLogger(__name__)


class Peering(Protocol):
    """Tells by which name a connection asked for the API."""

    def via(self, connection: ssl.SSLObject) -> str | None:
        """Return the peer, nothing for a newcomer, None for neither."""


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


def check_peering(
    request: web.Request, caller: Caller, peering: Peering, peers: Mapping[str, Zone]
) -> str:
    """Keep the peering and the rest of the API apart; return the peer that calls, if one does.

    By a name of the peering nothing but its routes can be had: TLS believed the peer's roots then,
    which say nothing of anybody else.

    Raises:
        ApiError: the caller may not have this.

    """
    found = request.transport.get_extra_info("ssl_object") if request.transport else None
    connection = found if isinstance(found, ssl.SSLObject) else None
    via = peering.via(connection) if connection is not None else None
    wanted = caller in {Caller.INVITED, Caller.PEER}
    if via is None and not wanted:
        return ""
    if (
        connection is None
        or via is None
        or not wanted
        or (via == NEWCOMER) is not (caller is Caller.INVITED)
    ):
        raise ApiError(
            404,
            "nothing is here by the name that was asked for",
            remedy="ask for the peering by its own name, and for the rest by the zone's",
        )
    if via == NEWCOMER:
        return ""
    der = connection.getpeercert(binary_form=True)
    shown = chain.sole_uri(x509.load_der_x509_certificate(der)) if der else "no certificate"
    zone = peers.get(via)
    if zone is None or shown != ZoneId(zone.trust_domain, zone.name).uri:
        logger.warning("peer refused", extra={"peer": via, "shown": shown})
        raise ApiError(
            401,
            f"{shown or 'nobody'} is not the control plane of the peer {via}",
            remedy="ask as the zone that became the peer; if it was set up anew, peer again",
        )
    return via


def _unauthenticated(error: str) -> ApiError:
    return ApiError(
        401,
        error,
        remedy="connect with the workload's current certificate; if it expired, enrol again",
    )
