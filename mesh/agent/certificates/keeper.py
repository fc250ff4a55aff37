"""Keeps every certificate that Envoy asks for: fetched, on disk, renewed, and complained about.

Each is followed by a task of its own, so that one that Vault refuses holds up no other.  One that
Envoy has not asked for in ten minutes belongs to no listener any more and is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import random
from typing import Final

from mesh.agent.certificates.copies import COPY, Held, file_of, read_secret, secret
from mesh.agent.certificates.session import VaultError
from mesh.agent.certificates.vault import Vault
from mesh.agent.errors import AgentError
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.workshop import Workshop
from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.model.certificates import CertificateSource, InvalidSourceError, Keep

logger = logging.getLogger(__name__)

MOST: Final = 1000
"""Certificates of one gateway."""
_FORGOTTEN: Final = 600.0
"""Seconds without a question after which nobody needs a certificate."""
_STALE: Final = 15.0
"""Seconds without a question after which a missing certificate is no reason not to be ready."""
_FIRST_ANSWER: Final = 1.5
"""Seconds that a question waits for the first certificate."""
_LONGEST_NAP: Final = 60.0
_WORKSHOPS: Final = 2
"""Child processes at once: each takes 30 MB, and a gateway may start with all its certificates."""


@dataclass(slots=True)
class _Kept:
    source: CertificateSource
    asked_at: float
    held: Held | None = None
    jitter: float = 0.0
    complaint: str = ""
    stored: bool = True
    """Whether ``held`` is in the state directory too."""
    unstored: str = ""
    """Why it is not, as was told."""
    request: tuple[str, str] | None = None
    """A key and its signing request that no role has signed yet."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known whether there is a certificate."""


class Certificates:
    """All the certificates of one gateway."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDir,
        clock: Clock,
        draw: Callable[[], float] = random,
    ) -> None:
        """``draw`` yields jitter in [0, 1)."""
        self._vault = Vault(settings.vault, clock) if settings.vault is not None else None
        self._refresh = settings.vault.refresh if settings.vault is not None else _LONGEST_NAP
        self._state = state
        self._clock = clock
        self._draw = draw
        self._kept: dict[str, _Kept] = {}
        self._new: asyncio.Queue[_Kept] = asyncio.Queue()
        self._places = asyncio.Semaphore(_WORKSHOPS)

    async def run(self) -> None:
        """Follow what is asked for; runs forever."""
        async with Tasks("certificates for clients") as tasks:
            tasks.spawn("sweep", self._sweep(), forever=True)
            while True:
                kept = await self._new.get()
                tasks.spawn(kept.source.name, self._follow(kept))

    async def wanted(self, name: str) -> Held | None:
        """Return the certificate that Envoy asks for by ``name``; None if there is none yet.

        Raises:
            InvalidSourceError: ``name`` is no certificate's.

        """
        kept = self._kept.get(name)
        if kept is None:
            source = CertificateSource.parse(name)
            if len(self._kept) >= MOST:
                raise InvalidSourceError(f"there are {MOST} certificates already")
            kept = self._kept[name] = _Kept(source, self._clock.monotonic())
            self._new.put_nowait(kept)
        kept.asked_at = self._clock.monotonic()
        if not kept.settled.is_set():
            try:
                async with asyncio.timeout(_FIRST_ANSWER):
                    await kept.settled.wait()
            except TimeoutError:
                return None
        return kept.held

    def complaints(self) -> tuple[str, ...]:
        """Return why clients are not served as they should be, a line for each certificate."""
        now, clock = self._clock.now(), self._clock.monotonic()
        found = []
        for kept in self._kept.values():
            if clock - kept.asked_at > _STALE:
                continue
            if kept.held is None:
                found.append(f"no certificate from {kept.source.place}: {kept.complaint or 'wait'}")
            elif kept.held.not_after <= now:
                ended = kept.held.not_after.isoformat()
                why = f": {kept.complaint}" if kept.complaint else ""
                found.append(f"the certificate from {kept.source.place} ended at {ended}{why}")
        return tuple(found)

    async def _follow(self, kept: _Kept) -> None:
        backoff = Backoff(1.0, 60.0, self._draw)
        kept.held = await self._stored(kept.source)
        if kept.held is not None:
            kept.settled.set()
        while self._clock.monotonic() - kept.asked_at <= _FORGOTTEN:
            due = self._due(kept)
            if due > 0:
                await self._clock.sleep(min(due, _LONGEST_NAP))
                self._store(kept)
                if due > _LONGEST_NAP:
                    continue
            try:
                await self._renew(kept)
            except (AgentError, OSError) as error:  # a lack of processes passes too
                self._complain(kept, str(error) or type(error).__name__)
                kept.settled.set()
                await self._clock.sleep(backoff.next())
            else:
                kept.complaint = ""
                kept.settled.set()
                backoff.reset()
                self._store(kept)
                if kept.source.keep is Keep.KV:
                    await self._clock.sleep(self._refresh * (0.75 + 0.5 * self._draw()))
        del self._kept[kept.source.name]

    async def _sweep(self) -> None:
        """Remove copies that nobody needs, of certificates forgotten now or before this agent."""
        while True:
            # Time enough for Envoy to ask for all that it has.
            await self._clock.sleep(_FORGOTTEN)
            needed = {file_of(kept.source) for kept in self._kept.values()}
            for file in sorted(self._state.path.glob("*certificate-*")):
                if not COPY.fullmatch(file.name) or file.name in needed:
                    continue
                try:
                    self._state.remove(file.name)
                except OSError as error:
                    logger.warning(
                        "a certificate's copy that nobody needs cannot be removed",
                        extra={"file": str(file), "reason": error.strerror or str(error)},
                    )

    def _due(self, kept: _Kept) -> float:
        """Return the seconds until it should be fetched again."""
        if kept.held is None or kept.source.keep is Keep.KV:
            return 0.0
        left: timedelta = kept.held.renew_at(kept.jitter) - self._clock.now()
        return left.total_seconds()

    async def _renew(self, kept: _Kept) -> None:
        if self._vault is None:
            raise VaultError("this gateway knows no Vault", "Give it vault.address and vault.auth.")
        place, signs = kept.source.place, kept.source.keep is Keep.PKI
        issuers: tuple[str, ...] = ()
        if signs:
            chain, issuers, key = await self._signed(self._vault, kept)
        else:
            chain, key = await self._vault.read(kept.source)
            if kept.held is not None and (chain, key) == (kept.held.chain, kept.held.key):
                return
        async with self._workshop() as workshop:
            if signs:
                chain = await workshop.server_chain(chain, issuers, place)
            validity = await workshop.server_inspect(chain, key, place)
        kept.held = Held(chain, key, self._clock.now(), validity.not_after)
        kept.jitter, kept.stored = self._draw(), False
        logger.info(
            "certificate for clients",
            extra={
                "source": place,
                "serial": validity.serial,
                "not_after": validity.not_after.isoformat(),
            },
        )

    def _store(self, kept: _Kept) -> None:
        """Write a copy for the day when Vault does not answer; a disk that is full now passes."""
        if kept.stored or kept.held is None:
            return
        file = file_of(kept.source)
        try:
            self._state.write(file, secret(kept.source.name, kept.held))
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != kept.unstored:
                logger.warning(
                    "certificate for clients served, but not stored: with this agent it is gone",
                    extra={
                        "source": kept.source.place,
                        "file": str(self._state.path / file),
                        "reason": reason,
                    },
                )
            kept.unstored = reason
        else:
            kept.stored, kept.unstored = True, ""

    async def _signed(self, vault: Vault, kept: _Kept) -> tuple[str, tuple[str, ...], str]:
        """Return a certificate that a role signed, who may be above it, and the key.

        A key waits for the day when Vault answers, and nobody waits for its process meanwhile.
        """
        if kept.request is None:
            async with self._workshop() as workshop:
                kept.request = await workshop.server_request(kept.source.names)
        key, request = kept.request
        leaf, issuers = await vault.sign(kept.source, request)
        kept.request = None
        return leaf, issuers, key

    @asynccontextmanager
    async def _workshop(self) -> AsyncIterator[Workshop]:
        async with self._places:
            with Workshop() as workshop:
                yield workshop

    async def _stored(self, source: CertificateSource) -> Held | None:
        try:
            content = self._state.read(file_of(source))
            if content is None:
                return None
            chain, key, fetched_at = read_secret(content)
            async with self._workshop() as workshop:
                validity = await workshop.server_inspect(chain, key, source.place)
        except (AgentError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = str(error) or type(error).__name__
            logger.warning(
                "a stored certificate cannot be used",
                extra={"source": source.place, "reason": reason},
            )
            return None
        return Held(chain, key, fetched_at or validity.not_before, validity.not_after)

    def _complain(self, kept: _Kept, reason: str) -> None:
        one_line = " ".join(reason.split())
        if one_line != kept.complaint:
            kept.complaint = one_line
            logger.warning(
                "certificate for clients not renewed",
                extra={"source": kept.source.place, "reason": one_line},
            )
