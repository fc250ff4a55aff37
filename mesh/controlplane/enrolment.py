"""From a certificate signing request to a certificate: is it well made, whose is it, sign, record.

A newcomer shows a proof (``proofs``); whoever has a certificate already renews it by that alone.
The order is deliberate: what costs nothing is checked first, nothing is written before the
request is known to be signable, and the proof is bound before the signature, so that a crash in
between leaves a bound proof which the same key may show again, and never a certificate without
a record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from mesh.aio.clock import Clock, SystemClock
from mesh.ca.csr import CheckedCsr, check_csr
from mesh.ca.issuer import Issuer
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.controlplane import audit
from mesh.controlplane.audit import IssuedCertificate, RefusedRequest
from mesh.controlplane.bindings import REATTEST_FOR, Bindings, UnreadableRecordError
from mesh.controlplane.metrics import Metrics
from mesh.controlplane.proofs import consul_token, join_token
from mesh.controlplane.proofs.join_token import JoinTokens
from mesh.controlplane.rate_limit import RateLimiter
from mesh.controlplane.refusals import Reason, RefusedError, TooManyRequestsError
from mesh.controlplane.trust import Trust
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.violations import InvalidInputError

logger = logging.getLogger(__name__)

RENEWAL = "renewal"
"""The proof of a renewal, as audit and metrics name it: the certificate in use."""

_NOTE_WITHIN: Final = 2.0
"""Seconds that Consul gets to note a renewal: less than agents wait for its answer."""

ProofKind = Literal["join-token", "consul-token"]
"""How a newcomer may prove who he is."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An enrolment as it was asked for; ``source`` is the address it came from."""

    service: str
    csr: str
    proof: ProofKind
    token: str
    source: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A renewal as it was asked for, by the holder of the certificate ``serial``."""

    identity: WorkloadId
    serial: str
    csr: str
    source: str
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """A certificate and all that its holder needs with it."""

    certificate_chain: str
    bundle: str
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class EnrolmentPolicy:
    """How long certificates live and proofs count."""

    leaf_ttl: timedelta = timedelta(hours=24)
    reattest_for: timedelta = REATTEST_FOR


RevocationCheck = Callable[[WorkloadId, str], Awaitable[bool]]
"""Tells whether a certificate, by identity and serial, may no longer be renewed."""


async def nothing_revoked(_identity: WorkloadId, _serial: str) -> bool:
    """Say that no certificate is revoked."""
    return False


class Enrolment:
    """Gives out the zone's certificates."""

    def __init__(
        self,
        zone: ZoneId,
        issuer: Issuer,
        trust: Trust,
        consul: ConsulClient,
        *,
        limiter: RateLimiter,
        metrics: Metrics,
        policy: EnrolmentPolicy | None = None,
        revoked: RevocationCheck = nothing_revoked,
        clock: Clock | None = None,
    ) -> None:
        """Sign for ``zone`` with ``issuer``; ``trust`` goes with each certificate."""
        self._zone = zone
        self._issuer = issuer
        self._trust = trust
        self._consul = consul
        self._limiter = limiter
        self._metrics = metrics
        self._policy = policy or EnrolmentPolicy()
        self._revoked = revoked
        self._clock = clock or SystemClock()
        self._join_tokens = JoinTokens(
            zone, issuer.bundle, Bindings(consul), self._policy.reattest_for, self._clock
        )

    async def enrol(self, newcomer: Newcomer) -> Granted:
        """Give a newcomer his first certificate.

        Raises:
            InvalidInputError: his request cannot be signed.
            RefusedError: his proof is not good, or he asks too often.
            ConsulError, IssuerError: something the zone needs did not answer.

        """
        try:
            self._admit(newcomer.source)
            identity = WorkloadId(self._zone.trust_domain, self._zone.zone, newcomer.service)
            csr = check_csr(newcomer.csr, identity)
            proof_id = await self._prove(newcomer, csr)
        except (RefusedError, InvalidInputError) as error:
            self._refused(error, newcomer.service, newcomer.proof, newcomer.source)
            raise
        return await self._sign(csr, newcomer.proof, proof_id, newcomer.source)

    async def renew(self, holder: Holder) -> Granted:
        """Give the holder of a certificate the next one, for the same identity.

        Raises:
            InvalidInputError: the request cannot be signed, or is for another identity.
            RefusedError: the certificate was revoked, or he asks too often.
            IssuerError: nothing can be signed.  Consul is not needed for this.

        """
        try:
            self._admit(holder.source)
            self._check_zone(holder.identity)
            csr = check_csr(holder.csr, holder.identity)
            await self._check_revoked(holder)
        except (RefusedError, InvalidInputError) as error:
            self._refused(error, holder.identity.service, RENEWAL, holder.source)
            raise
        granted = await self._sign(csr, RENEWAL, holder.serial, holder.source)
        if holder.token_id:
            await self._note_renewal(holder)
        return granted

    async def _note_renewal(self, holder: Holder) -> None:
        try:
            async with asyncio.timeout(_NOTE_WITHIN):
                await self._join_tokens.renewed(holder.token_id, holder.identity.service)
        except (ConsulError, UnreadableRecordError, TimeoutError) as error:
            # The certificate is signed: a note that can be made next time must not cost it.
            reason = str(error) or "Consul did not answer in time"
            logger.warning("renewal not noted", extra={"token": holder.token_id, "reason": reason})

    def _admit(self, source: str) -> None:
        wait = self._limiter.admit(source, self._clock.monotonic())
        if wait > 0:
            raise TooManyRequestsError(wait)

    def _check_zone(self, identity: WorkloadId) -> None:
        if (identity.trust_domain, identity.zone) != (self._zone.trust_domain, self._zone.zone):
            raise RefusedError(
                Reason.FOREIGN,
                f"{identity.uri} is of another zone than {self._zone.zone!r}",
                remedy="renew at the zone that the certificate is from",
            )

    async def _check_revoked(self, holder: Holder) -> None:
        if await self._revoked(holder.identity, holder.serial):
            raise RefusedError(
                Reason.REVOKED,
                f"the certificate {holder.serial} of {holder.identity.uri} was revoked",
                remedy="enrol again with a new proof",
            )

    async def _prove(self, newcomer: Newcomer, csr: CheckedCsr) -> str:
        match newcomer.proof:
            case join_token.KIND:
                return await self._join_tokens.check(
                    newcomer.token, newcomer.service, csr.spki_sha256
                )
            case consul_token.KIND:
                return await consul_token.check(self._consul, newcomer.token, newcomer.service)

    async def _sign(self, csr: CheckedCsr, proof: str, proof_id: str, source: str) -> Granted:
        issued = await self._issuer.sign(csr, self._policy.leaf_ttl)
        self._metrics.certificates.labels(proof=proof).inc()
        audit.issued(
            IssuedCertificate(
                identity=csr.identity.uri,
                proof=proof,
                proof_id=proof_id,
                serial=issued.serial,
                not_after=issued.not_after,
                spki_sha256=csr.spki_sha256,
                source=source,
            )
        )
        return Granted(issued.chain_pem, self._trust.bundle().pem, issued.serial, issued.not_after)

    def _refused(
        self, error: RefusedError | InvalidInputError, service: str, proof: str, source: str
    ) -> None:
        reason = error.reason if isinstance(error, RefusedError) else Reason.BAD_CSR
        self._metrics.refusals.labels(reason=reason.value).inc()
        audit.refused(RefusedRequest(service, proof, reason.value, source))
