"""Join tokens from the administrator's side: made with the zone's key, revoked in Consul."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from mesh.aio.clock import Clock, SystemClock
from mesh.ca import join_tokens
from mesh.ca.issuer import Issuer
from mesh.ca.join_tokens import Grant, Minted
from mesh.controlplane import audit
from mesh.controlplane.audit import AdminAction
from mesh.controlplane.bindings import Bindings
from mesh.model.identity import ZoneId
from mesh.model.violations import Report

_ID: Final = re.compile(r"[0-9a-f]{32}")
_ID_BYTES: Final = 16


class TokenOffice:
    """Makes and revokes join tokens for one zone."""

    def __init__(
        self,
        zone: ZoneId,
        issuer: Issuer,
        bindings: Bindings,
        max_ttl: timedelta,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(_ID_BYTES),
    ) -> None:
        """Make tokens that live at most ``max_ttl``."""
        self._zone = zone
        self._issuer = issuer
        self._bindings = bindings
        self._max_ttl = max_ttl
        self._clock = clock or SystemClock()
        self._new_id = new_id

    async def mint(
        self, *, service: str, prefix: str, reusable: bool, ttl: timedelta, source: str
    ) -> Minted:
        """Make a token.

        Raises:
            InvalidInputError: with every reason why it cannot be made.
            IssuerUnavailableError: the zone has no certificate to sign with.

        """
        report = Report("join token")
        if ttl > self._max_ttl:
            report.add("ttl_seconds", f"is over enrolment.max_token_ttl, which is {self._max_ttl}")
        grant = None
        try:
            grant = Grant(service, prefix, reusable)
        except ValueError as error:
            report.add("prefix" if prefix else "service", str(error))
        report.close()
        if grant is None:
            raise AssertionError  # the report was not empty
        minted = join_tokens.mint(
            grant,
            zone=self._zone,
            signer=await self._issuer.zone_identity(),
            bundle=self._issuer.bundle(),
            token_id=self._new_id(),
            now=self._clock.now(),
            ttl=ttl,
        )
        subject = f"{minted.id} for {service or prefix + '*'}"
        audit.administered(AdminAction("join token made", subject, source))
        return minted

    async def revoke(self, token_id: str, source: str) -> None:
        """Revoke a token by its id, whether it was used or not.

        Raises:
            InvalidInputError: that cannot be a token's id.
            ConsulError: Consul did not answer.

        """
        if not _ID.fullmatch(token_id):
            report = Report("join token id")
            report.add("id", "expected 32 hex digits: the id, not the token itself")
            report.close()
        await self._bindings.revoke(token_id, self._clock.now())
        audit.administered(AdminAction("join token revoked", token_id, source))
