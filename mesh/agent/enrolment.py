"""From a token to an identity, and from an identity to the next one, for as long as the host lives.

Three ways to a certificate, each tried when the one before cannot serve:

1. the one on disk, while it is valid: no zone is needed to start;
2. renewal with a fresh key, over mTLS with the present certificate, from half of its life on, or
   when an operator asks (SIGHUP);
3. attestation with the proof and the enrolment key: at first, and when the certificate expired
   while the host was off.

The enrolment key is on disk before the token is shown to anybody: a zone that binds the token to
the key and whose answer is lost will recognise the next try.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import random
from typing import Any, Final

from mesh.agent.errors import (
    AgentError,
    ClockSkewError,
    ZoneRefusedError,
    ZoneUnreachableError,
)
from mesh.agent.identity import Svid, expiry_in_words
from mesh.agent.identity_files import IdentityFiles
from mesh.agent.proof import Proof
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.trust import checked, first_trust
from mesh.agent.workshop import Workshop
from mesh.agent.zone import Trust, ZoneClient
from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.model.identity import WorkloadId, ZoneId

logger = logging.getLogger(__name__)

BUNDLE_SECONDS: Final = 60.0
"""How often the trust bundle is asked for."""

_LONGEST_NAP: Final = 60.0
"""A host that was suspended must notice that its certificate ran out meanwhile."""


class Enrolment:
    """Keeps one proxy's identity valid.  ``svid`` and ``trust`` are the present ones."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDir,
        zone: ZoneClient,
        clock: Clock,
        draw: Callable[[], float] = random,
    ) -> None:
        """``draw`` yields jitter in [0, 1)."""
        self._settings = settings
        self._zone = zone
        self._clock = clock
        self._draw = draw
        self._proof = Proof(settings.proof_kind, settings.proof_file, state)
        self.files = IdentityFiles(state)
        self._asked = asyncio.Event()
        self.svid: Svid | None = None
        self.trust: Trust | None = None
        self.problem = ""
        """Why the zone gave no certificate when it was last asked; empty if it did."""
        self.tries = 0
        """How often :meth:`refresh` was tried, whatever came of it."""

    def load(self) -> Svid | None:
        """Take up what is on disk, valid or not, if it is this service's."""
        found = self.files.load()
        if found is None or found[0].service != self._settings.service:
            return None
        self.svid, bundle = found
        self.trust = Trust(bundle, self.svid.zone_id)
        return self.svid

    async def ensure(self) -> Svid:
        """Return an identity; wait for the zone if there is none on disk.

        Raises:
            AgentError: the zone refuses, or is not the one that was pinned.

        """
        backoff = Backoff(0.2, 10.0, self._draw)
        while self.svid is None and self.load() is None:
            try:
                await self.attest()
            except ZoneUnreachableError as error:
                self.problem = str(error)
                logger.warning("not enrolled yet", extra={"reason": str(error)})
                await self._clock.sleep(backoff.next())
            except ZoneRefusedError as error:
                if error.final:
                    raise
                self.problem = str(error)
                logger.warning("not enrolled yet", extra={"reason": str(error)})
                await self._clock.sleep(backoff.next())
        if self.svid is None:
            raise AssertionError  # the loop ends with one
        return self.svid

    def renew_now(self) -> None:
        """Have the certificate replaced before its time; Envoy takes up the new one."""
        if self.svid is not None:
            self._asked.set()

    async def keep_valid(self) -> None:
        """Renew at half of each life, and attest again when that is too late.  Runs forever."""
        while True:
            svid = await self.ensure()
            await self._sleep_until(svid.renew_at(self._draw()))
            backoff = Backoff(1.0, 120.0, self._draw)
            while self.svid is svid:
                self._asked.clear()
                try:
                    await self.refresh()
                except (AgentError, OSError) as error:  # a full disk passes too
                    self.problem = str(error)
                    self.tries += 1
                    logger.warning(
                        "certificate not renewed",
                        extra={
                            "reason": str(error),
                            "state": expiry_in_words(svid, self._clock.now()),
                        },
                    )
                    await self._pause(backoff.next())
                else:
                    self.tries += 1

    async def refresh(self) -> None:
        """Get a new certificate by renewal or, where that is not possible, by attestation."""
        self.files.mend()  # half a pair on disk would let neither agent nor zone believe it
        if self.svid is not None and self.svid.valid(self._clock.now()):
            try:
                await self.renew()
            except ZoneRefusedError as refused:
                if not refused.final:
                    raise
                logger.warning("renewal refused; attesting again", extra={"reason": str(refused)})
            else:
                return
        await self.attest()

    async def attest(self) -> Svid:
        """Get a certificate on the strength of the token."""
        trust = self.trust or await first_trust(
            self._zone, self._proof.pins(), self._settings.bundle_file
        )
        proofs = self._proof.all()
        workload = WorkloadId(trust.zone.trust_domain, trust.zone.zone, self._settings.service)
        with Workshop() as workshop:
            stored = self.files.enrolment_key()
            key, csr = await workshop.request(workload.uri, stored)
            if stored is None:
                self.files.save_enrolment_key(key)
            said, proof = await self._shown(trust, csr, proofs)
            svid = await self._accept(workshop, workload, key, said)
        self._proof.keep(proof)
        return svid

    async def _shown(
        self, trust: Trust, csr: str, proofs: Sequence[dict[str, str]]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Show the zone one proof after another; return its answer, and what it believed."""
        for proof in proofs[:-1]:
            try:
                return await self._zone.enrol(trust, csr, self._settings.service, proof), proof
            except ZoneRefusedError as refused:
                if not refused.final:
                    raise
                logger.warning(
                    "token refused; showing the kept one", extra={"reason": str(refused)}
                )
        last = proofs[-1]
        return await self._zone.enrol(trust, csr, self._settings.service, last), last

    async def renew(self) -> Svid:
        """Get the next certificate, with a new key, on the strength of the present one."""
        if self.svid is None or self.trust is None:
            raise RuntimeError("nothing to renew yet")
        workload = self.svid.workload
        with Workshop() as workshop:
            key, csr = await workshop.request(workload.uri)
            said = await self._zone.renew(
                self.trust, csr, self.files.certificate, token_id=self._proof.token_id()
            )
            return await self._accept(workshop, workload, key, said)

    async def keep_bundle(self) -> None:
        """Follow the zone's trust bundle.  Runs forever."""
        while True:
            await self._clock.sleep(BUNDLE_SECONDS * (0.75 + 0.5 * self._draw()))
            try:
                await self.refresh_bundle()
            except (AgentError, OSError) as error:
                logger.warning("trust bundle not refreshed", extra={"reason": str(error)})

    async def refresh_bundle(self, *, patience: float | None = None) -> bool:
        """Take over the zone's bundle, if a zone that the present one vouches for gives another.

        Returns whether it changed.
        """
        if self.trust is None:
            raise RuntimeError("no bundle to begin with")
        bundle = await self._zone.bundle(self.trust, timeout=patience)
        if bundle == self.trust.bundle:
            return False
        trust = checked(Trust(bundle, self.trust.zone))
        self.files.save_bundle(bundle)
        self.trust = trust
        logger.info("trust bundle replaced")
        return True

    async def _accept(
        self, workshop: Workshop, workload: WorkloadId, key: str, said: dict[str, Any]
    ) -> Svid:
        try:
            chain, bundle = str(said["certificate_chain"]), str(said["bundle"])
            xds = tuple(str(each) for each in said["xds"])
        except (KeyError, TypeError) as error:
            raise AgentError(
                f"the zone's answer to the signing request lacks {error}",
                "Do agent and zone have the same version? Compare `mesh version`.",
            ) from error
        trust = checked(Trust(bundle, ZoneId(workload.trust_domain, workload.zone)))
        validity = await workshop.inspect(chain, key, workload.uri)
        now = self._clock.now()
        _check_time(now, validity.not_before, validity.not_after)
        svid = Svid(
            workload.trust_domain,
            workload.zone,
            workload.service,
            validity.serial,
            now,
            validity.not_after,
            xds,
        )
        self.files.save(svid, chain, key, bundle)
        self.svid, self.trust, self.problem = svid, trust, ""
        logger.info(
            "certificate received",
            extra={
                "identity": workload.uri,
                "serial": svid.serial,
                "not_after": svid.not_after.isoformat(),
            },
        )
        return svid

    async def _sleep_until(self, moment: datetime) -> None:
        while (left := moment - self._clock.now()) > timedelta() and not self._asked.is_set():
            await self._pause(min(left.total_seconds(), _LONGEST_NAP))

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless somebody asks for a certificate meanwhile."""
        async with Tasks("pause") as tasks:
            waits: set[asyncio.Task[Any]] = {
                tasks.spawn("asked", self._asked.wait()),
                tasks.spawn("sleep", self._clock.sleep(seconds)),
            }
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)


def _check_time(now: datetime, not_before: datetime, not_after: datetime) -> None:
    if not_before <= now < not_after:
        return
    raise ClockSkewError(
        f"the zone issued a certificate valid from {not_before.isoformat()} to "
        f"{not_after.isoformat()}, but this machine's clock says {now.isoformat()}",
        "Set the clock: is NTP running, here and on the zone?",
    )
