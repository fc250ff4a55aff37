"""The zone's TLS settings, kept fresh: its certificate and the roots that clients must show.

A listener takes one context for its whole life.  So every handshake is moved, by the hook that
sees the client's first message, to the newest context: a rotated certificate or bundle counts
from the next connection on, and connections that stand are left alone.
"""

from __future__ import annotations

import logging
import ssl
from typing import Final, NoReturn

from mesh.aio.clock import Clock, SystemClock
from mesh.ca import tls
from mesh.ca.bundle import TrustBundle
from mesh.ca.issuer import Credentials, Issuer, IssuerError

logger = logging.getLogger(__name__)

CHECK_EVERY: Final = 30.0
"""Seconds between looks at the issuer."""


class ZoneTls:
    """Contexts from an issuer.  :meth:`start` it before use."""

    def __init__(self, issuer: Issuer, *, require_client: bool, clock: Clock | None = None) -> None:
        """Ask clients for a certificate; with ``require_client`` they may not go without."""
        self._issuer = issuer
        self._require_client = require_client
        self._clock = clock or SystemClock()
        self._made_from: tuple[str, str] | None = None
        self._current: ssl.SSLContext | None = None
        self._made: tuple[Credentials, TrustBundle] | None = None

    def current(self) -> ssl.SSLContext:
        """Return the newest context, for a server that asks for each connection."""
        if self._current is None:
            raise AssertionError  # start() was not awaited
        return self._current

    @property
    def credentials(self) -> Credentials:
        """What the newest context shows."""
        if self._made is None:
            raise AssertionError  # start() was not awaited
        return self._made[0]

    @property
    def bundle(self) -> TrustBundle:
        """What the newest context believes."""
        if self._made is None:
            raise AssertionError  # start() was not awaited
        return self._made[1]

    async def start(self) -> ssl.SSLContext:
        """Return a context for a listener, whose handshakes follow every renewal.

        Raises:
            IssuerError: there is no certificate for the zone.

        """
        await self.refresh()
        listening = self.current()
        listening.sni_callback = self.move
        return listening

    async def refresh(self) -> bool:
        """Make a new context if the certificate or the bundle changed; tell whether they did.

        Raises:
            IssuerError: the issuer has no certificate for the zone.

        """
        credentials = await self._issuer.zone_identity()
        bundle = self._issuer.bundle()
        made_from = (credentials.serial, bundle.pem)
        if made_from == self._made_from:
            return False
        self._current = tls.server_context(credentials, bundle, require_client=self._require_client)
        self._made_from, self._made = made_from, (credentials, bundle)
        logger.info(
            "zone certificate in use",
            extra={
                "serial": credentials.serial,
                "not_after": credentials.not_after.isoformat(),
                "bundle": bundle.fingerprint,
            },
        )
        return True

    async def keep_fresh(self) -> NoReturn:
        """Follow the issuer until cancelled."""
        while True:
            await self._clock.sleep(CHECK_EVERY)
            try:
                await self.refresh()
            except IssuerError as error:
                logger.warning("zone certificate not renewed", extra={"reason": str(error)})

    def move(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext
    ) -> None:
        """Let ``connection`` have the newest context."""
        connection.context = self.current()
