"""Signs leaves in this process with a short-lived intermediate that somebody else signed.

Who that is (Vault, or a root on disk) is an :class:`IntermediateSource`.  The intermediate's key
is made here and lives in memory only.  At half of its life a successor is asked for; until one
comes the old one signs on, so that an outage of the source shorter than half of the
intermediate's life is noticed by nobody but the operator, who reads it in the status.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from cryptography import x509

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.ca import certificates
from mesh.ca.bundle import TrustBundle
from mesh.ca.certificates import Authority
from mesh.ca.csr import CheckedCsr, PublicKey
from mesh.ca.describe import issued, root_statuses, root_warnings, zone_names
from mesh.ca.intermediates import IntermediateSource, check_intermediate
from mesh.ca.issuer import (
    Credentials,
    Issued,
    IssuerError,
    IssuerStatus,
    IssuerUnavailableError,
)
from mesh.model.identity import ZoneId

logger = logging.getLogger(__name__)

INTERMEDIATE_TTL: Final = timedelta(hours=72)
"""Three times a leaf's usual life: a leaf signed just before renewal still lives its 24 hours."""
ZONE_TTL: Final = timedelta(hours=24)
"""Life of the zone's own certificate."""
_RETRY_BASE: Final = 1.0
_RETRY_CAP: Final = 60.0
# A machine that slept wakes with its timers behind the clock on the wall: look at it often.
_LONGEST_SLEEP: Final = 300.0


class LocalIssuer:
    """An issuer (:class:`mesh.ca.issuer.Issuer`) that signs in this process."""

    def __init__(
        self,
        zone: ZoneId,
        source: IntermediateSource,
        *,
        intermediate_ttl: timedelta = INTERMEDIATE_TTL,
        zone_ttl: timedelta = ZONE_TTL,
        clock: Clock | None = None,
    ) -> None:
        """Take the zone to sign for and who signs its intermediates."""
        self._zone = zone
        self._source = source
        self._ttl = intermediate_ttl
        self._zone_ttl = zone_ttl
        self._clock = clock or SystemClock()
        self._tasks = Tasks("issuer")
        self._authority: Authority | None = None
        self._bundle: TrustBundle | None = None
        self._identity: Credentials | None = None
        self._source_warnings: tuple[str, ...] = ()
        self._trouble: str = ""

    async def start(self) -> None:
        """Obtain the first intermediate and look after it from now on."""
        await self._source.open()
        try:
            await self.renew()
        except IssuerError:
            await self._source.close()
            raise
        self._tasks.spawn("renew the intermediate", self._keep_renewed(), forever=True)

    async def close(self) -> None:
        """Stop renewing and forget the keys."""
        await self._tasks.close()
        await self._source.close()
        self._authority = None
        self._identity = None

    async def renew(self) -> None:
        """Replace the intermediate now, and read the roots again."""
        key = certificates.new_key()
        now = self._clock.now()
        name = f"mesh zone {self._zone.zone}"
        csr = certificates.intermediate_csr(key, name, self._zone.trust_domain)
        signed = await self._source.sign_intermediate(csr, self._ttl)
        authority = Authority(key, signed.chain, signed.root)
        check_intermediate(authority, now)
        warnings = list(signed.warnings)
        if authority.not_after < now + self._ttl - _tolerance(self._ttl):
            warnings.append(
                f"the intermediate was asked for {self._ttl} but lives only until "
                f"{authority.not_after:%Y-%m-%d %H:%M:%S}Z: raise the maximum TTL of the mount, "
                "or renew the root"
            )
        self._bundle = TrustBundle.of((signed.root, *signed.roots), self._zone.trust_domain)
        self._authority = authority
        self._source_warnings = tuple(warnings)
        self._trouble = ""
        logger.info(
            "intermediate renewed",
            extra={
                "mode": self._source.mode,
                "serial": certificates.serial(authority.certificate),
                "not_after": authority.not_after.isoformat(),
                "root": self._bundle.fingerprint,
            },
        )

    async def sign(self, csr: CheckedCsr, ttl: timedelta) -> Issued:
        """Sign a leaf."""
        if csr.identity.trust_domain != self._zone.trust_domain:
            raise IssuerError(
                f"{csr.identity.uri} is not of the trust domain {self._zone.trust_domain}",
                remedy="ask a zone of its own mesh",
            )
        names = [x509.UniformResourceIdentifier(csr.identity.uri)]
        return self._sign(csr.public_key, names, ttl)

    async def zone_identity(self) -> Credentials:
        """Return the zone's own credentials, fresh ones once half of their life is over."""
        if self._identity is None or self._identity.half_spent(self._clock.now()):
            key = certificates.new_key()
            issued = self._sign(key.public_key(), zone_names(self._zone), self._zone_ttl)
            self._identity = Credentials(
                issued.chain_pem, key, issued.serial, issued.not_before, issued.not_after
            )
        return self._identity

    def bundle(self) -> TrustBundle:
        """Return the roots."""
        if self._bundle is None:
            raise self._not_started()
        return self._bundle

    def status(self) -> IssuerStatus:
        """Tell how the intermediate and the roots fare."""
        now = self._clock.now()
        roots = self._bundle.roots if self._bundle else ()
        known = (*self._source_warnings, self._trouble, self._source.trouble)
        warnings = [each for each in known if each]
        warnings.extend(root_warnings(roots, now))
        return IssuerStatus(
            self._source.mode,
            self._authority.not_after if self._authority else None,
            root_statuses(roots),
            tuple(warnings),
        )

    def _sign(self, key: PublicKey, names: Sequence[x509.GeneralName], ttl: timedelta) -> Issued:
        if ttl <= timedelta():
            raise IssuerError(f"a certificate cannot live {ttl}", remedy="ask for a positive TTL")
        authority, now = self._authority, self._clock.now()
        if authority is None:
            raise self._not_started()
        if now >= authority.not_after:
            raise IssuerUnavailableError(
                f"the zone's intermediate expired at {authority.not_after:%Y-%m-%d %H:%M:%S}Z",
                remedy=self._trouble or "see why it was not renewed in the zone's log",
            )
        signed = certificates.leaf(authority, key, names, now, ttl)
        return issued((signed, *authority.chain))

    def _not_started(self) -> IssuerUnavailableError:
        return IssuerUnavailableError("the issuer has no intermediate", remedy="start it first")

    async def _keep_renewed(self) -> None:
        backoff = Backoff(_RETRY_BASE, _RETRY_CAP)
        while True:
            left = self._seconds_to_half_life()
            if left > 0:
                await self._clock.sleep(min(left, _LONGEST_SLEEP))
                continue
            try:
                await self.renew()
            except IssuerError as error:
                self._note_trouble(error)
                await self._clock.sleep(_RETRY_BASE + backoff.next())
            else:
                backoff.reset()
                # Near the root's end lives get short; never spin.
                await self._clock.sleep(_RETRY_BASE)

    def _seconds_to_half_life(self) -> float:
        authority = self._authority
        if authority is None:
            return 0.0
        half = authority.not_before + (authority.not_after - authority.not_before) / 2
        return (half - self._clock.now()).total_seconds()

    def _note_trouble(self, error: IssuerError) -> None:
        until = self._authority.not_after if self._authority else self._clock.now()
        self._trouble = (
            f"the intermediate could not be renewed and signs until {until:%Y-%m-%d %H:%M:%S}Z: "
            f"{error}"
        )
        logger.warning(
            "intermediate not renewed",
            extra={"mode": self._source.mode, "not_after": until.isoformat(), "error": str(error)},
        )


def _tolerance(ttl: timedelta) -> timedelta:
    # Clocks differ and a request takes time; a real cut is far larger.
    return max(ttl * 0.01, timedelta(seconds=5))
