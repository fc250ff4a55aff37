"""By which name the control plane is asked decides whom it believes.

A peer asks for ``<peer>.peering.zone.<zone>.<trust domain>``.  The handshake then takes a context
in which that peer's roots, and no others, are believed.  Whoever has a peering token to show asks
for the name without a peer.  Both get to the routes of the peering and to nothing else: through a
gateway there is no way to the rest of the API, and a certificate that a peer's roots stand behind
counts for nothing there, whatever name it bears.
"""

from __future__ import annotations

import logging
import ssl
import weakref
from collections.abc import Callable, Mapping
from typing import Final

from mesh.ca import tls
from mesh.ca.bundle import InvalidBundleError, TrustBundle
from mesh.controlplane.tls import ZoneTls
from mesh.model.identity import ZoneId
from mesh.model.zones import Zone

NEWCOMER: Final = ""
"""Whoever asks by the name without a peer."""

logger = logging.getLogger(__name__)


class PeeringTls:
    """Chooses the context of each handshake on the port of the API."""

    def __init__(self, zone: ZoneId, own: ZoneTls, peers: Callable[[], Mapping[str, Zone]]) -> None:
        """Hand all that is no peering to ``own``."""
        self._zone = zone
        self._own = own
        self._peers = peers
        self._made: dict[str, tuple[tuple[str, str], ssl.SSLContext]] = {}
        self._via: weakref.WeakKeyDictionary[ssl.SSLContext, str] = weakref.WeakKeyDictionary()

    def move(
        self,
        connection: ssl.SSLSocket | ssl.SSLObject,
        name: str | None,
        listening: ssl.SSLContext,
    ) -> int | None:
        """Give ``connection`` its context; refuse it if the name is no peer's."""
        asked = self._asked(name or "")
        if asked is None:
            self._own.move(connection, name, listening)
            return None
        context = self._context(asked)
        if context is None:
            logger.warning("refused: no such peer", extra={"peer": asked})
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        connection.context = context
        return None

    def via(self, connection: ssl.SSLObject) -> str | None:
        """Return the peer whose roots were asked for, :data:`NEWCOMER`, or None for neither."""
        return self._via.get(connection.context)

    def _asked(self, name: str) -> str | None:
        whole = self._zone.peering_name()
        if name == whole:
            return NEWCOMER
        return name.removesuffix(f".{whole}") if name.endswith(f".{whole}") else None

    def _context(self, peer: str) -> ssl.SSLContext | None:
        credentials, bundle = self._own.credentials, self._own.bundle
        if peer != NEWCOMER:
            zone = self._peers().get(peer)
            try:
                parsed = TrustBundle.parse(zone.bundle, zone.trust_domain) if zone else None
            except InvalidBundleError as error:
                logger.warning("roots not read", extra={"peer": peer, "reason": str(error)})
                parsed = None
            if parsed is None:
                self._made.pop(peer, None)
                return None
            bundle = parsed
        made_from = (credentials.serial, bundle.pem)
        held = self._made.get(peer)
        if held is None or held[0] != made_from:
            context = tls.server_context(credentials, bundle, require_client=peer != NEWCOMER)
            held = self._made[peer] = (made_from, context)
            self._via[context] = peer
        return held[1]
