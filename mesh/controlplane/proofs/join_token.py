"""Proof by a join token: the zone's own signed word, bound to the first key that uses it.

:func:`decide` is pure: what the token says and what the zone remembers go in, what to do comes
out.  :class:`JoinTokens` reads and writes the memory around it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mesh.aio.clock import Clock
from mesh.ca import join_token_errors as errors
from mesh.ca import join_tokens
from mesh.ca.bundle import TrustBundle
from mesh.ca.join_tokens import JoinToken, Use
from mesh.controlplane.bindings import Bindings, Record, StoredRecord, binding_key, token_key
from mesh.controlplane.refusals import Reason, RefusedError
from mesh.model.identity import ZoneId

logger = logging.getLogger(__name__)

KIND: Final = "join-token"
_REASONS: Final[dict[type[errors.JoinTokenError], Reason]] = {
    errors.MalformedTokenError: Reason.MALFORMED,
    errors.ForeignTokenError: Reason.FOREIGN,
    errors.TamperedTokenError: Reason.TAMPERED,
    errors.ExpiredTokenError: Reason.EXPIRED,
    errors.NotYetValidTokenError: Reason.NOT_YET_VALID,
    errors.WrongServiceError: Reason.WRONG_SERVICE,
}
_NEW_TOKEN: Final = "ask for a new one with 'mesh token create'"


@dataclass(frozen=True, slots=True)
class Ask:
    """Who shows the token: the key of his request, and the service he says he is."""

    spki: str
    service: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Bind:
    """First use: write ``record`` where there is none."""

    record: Record


@dataclass(frozen=True, slots=True)
class Reattest:
    """The bound key again: note the time in ``stored``."""

    stored: StoredRecord


def decide(
    token: JoinToken,
    ask: Ask,
    binding: StoredRecord | None,
    revocation: StoredRecord | None,
    reattest_for: timedelta,
) -> Bind | Reattest:
    """Return what a genuine token gives to whoever asks.

    ``binding`` is what is remembered of the token's use (by this key, for a reusable one),
    ``revocation`` what stands at the token's own key.

    Raises:
        RefusedError: nothing.

    """
    revoked = next((s for s in (binding, revocation) if s and s.record.revoked_at), None)
    if revoked is not None:
        raise RefusedError(
            Reason.REVOKED,
            f"the join token was revoked at {revoked.record.revoked_at:%Y-%m-%d %H:%M:%S}Z",
            remedy=_NEW_TOKEN,
        )
    if binding is None:
        if ask.at >= token.expires_at:
            raise RefusedError(
                Reason.EXPIRED,
                f"the join token expired at {token.expires_at:%Y-%m-%d %H:%M:%S}Z, unused",
                remedy=_NEW_TOKEN,
            )
        return Bind(
            Record(
                spki=ask.spki,
                service=ask.service,
                bound_at=ask.at,
                last_issued_at=ask.at,
                expires_at=token.expires_at,
            )
        )
    if binding.record.spki != ask.spki:
        raise RefusedError(
            Reason.REPLAYED,
            "the join token was already used with another key",
            remedy="use a token for one host only, or make one with 'mesh token create "
            "--reusable'; if no host of yours used it, revoke it with 'mesh token revoke "
            f"{token.id}'",
        )
    if binding.record.service != ask.service:
        raise RefusedError(
            Reason.WRONG_SERVICE,
            f"the join token is bound to {binding.record.service!r}, not to {ask.service!r}",
            remedy="enrol another service with a token and a key of its own",
        )
    until = binding.record.reattests_until(reattest_for)
    if ask.at >= token.expires_at and (until is None or ask.at >= until):
        raise RefusedError(
            Reason.EXPIRED,
            "the join token's host was away for longer than the zone's enrolment.reattest_for",
            remedy=_NEW_TOKEN,
        )
    return Reattest(binding)


class JoinTokens:
    """Checks join tokens against the trust bundle and the zone's memory."""

    def __init__(
        self,
        zone: ZoneId,
        bundle: Callable[[], TrustBundle],
        bindings: Bindings,
        reattest_for: timedelta,
        clock: Clock,
    ) -> None:
        """Check tokens of ``zone``."""
        self._zone = zone
        self._bundle = bundle
        self._bindings = bindings
        self._reattest_for = reattest_for
        self._clock = clock

    async def check(self, token: str, service: str, spki: str) -> str:
        """Bind ``token`` to the key ``spki``, or find it bound so; return the token's id.

        Raises:
            RefusedError: the token is not good for this.
            ConsulError: Consul did not answer.

        """
        ask = Ask(spki, service, self._clock.now())
        found = self._verify(token, ask)
        key = binding_key(found.id, spki, reusable=found.grant.reusable)
        while True:
            binding = await self._bindings.read(key)
            revocation = await self._bindings.read(token_key(found.id))
            match decide(found, ask, binding, revocation, self._reattest_for):
                case Bind(record):
                    if await self._bindings.write(key, record, index=0):
                        return found.id
                    # Somebody was faster: decide again in the light of what he wrote.
                case Reattest(stored):
                    await self._bindings.touch(stored, ask.at)
                    return found.id

    async def renewed(self, token_id: str, service: str) -> None:
        """Note that the host of a token renewed its certificate, so that its time runs anew.

        Raises:
            ConsulError: Consul did not answer.

        """
        stored = await self._bindings.read(token_key(token_id))
        if stored is not None and stored.record.service == service:
            await self._bindings.touch(stored, self._clock.now())

    def _verify(self, token: str, ask: Ask) -> JoinToken:
        try:
            try:
                return self._read(token, ask, Use.FIRST)
            except errors.ExpiredTokenError:
                # Good enough for a key that is bound already; decide() sees to that.
                return self._read(token, ask, Use.REATTESTATION)
        except errors.JoinTokenError as error:
            message = str(error).removesuffix(f"; {error.remedy}")
            reason = _REASONS.get(type(error), Reason.MALFORMED)
            raise RefusedError(reason, message, remedy=error.remedy) from error

    def _read(self, token: str, ask: Ask, use: Use) -> JoinToken:
        return join_tokens.verify(
            token,
            zone=self._zone,
            bundle=self._bundle(),
            service=ask.service,
            now=ask.at,
            use=use,
        )
