"""One blocking query, asked again and again for as long as it is wanted.

An answer flows: Consul → :meth:`Watch.turn` → (same digest as before? then nothing) → (would it
empty something? then :mod:`~mesh.sources.consul.guard` decides) → ``apply``, at once.  Consul's
index only says from where to wait, and a wake is not a change.  When the index falls the leader
is asked, and the watch starts over from its answer.
Errors back off with jitter, and what was known stands, with its age.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from random import random
from typing import Generic, Protocol, TypeVar

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.clients.consul import Answer, ConsulError
from mesh.sources.consul.guard import Evidence, judge
from mesh.sources.consul.settings import WatchSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Read(Protocol[T_co]):
    """A read that blocks if given an index and a wait."""

    def __call__(self, *, index: int = 0, wait: float = 0) -> Awaitable[Answer[T_co]]:
        """Ask Consul."""
        ...


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How old what one watch knows is: ``last_error`` is empty while it works."""

    name: str
    last_success: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every watch shares."""

    clock: Clock
    settings: WatchSettings


class _HeldError(Exception):
    """An emptiness is not believed yet."""


class Watch(Generic[T]):
    """Keeps one piece of knowledge up to date."""

    def __init__(
        self,
        name: str,
        read: Read[T],
        apply: Callable[[T], None],
        surroundings: Surroundings,
        *,
        empties: Callable[[T], bool] = lambda _: False,
        witness: Callable[[], Awaitable[bool | None]],
        woken: Callable[[], None] = lambda: None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; nothing is asked yet.

        ``apply`` takes every answer whose body differs from the last.  ``empties`` says whether
        one would empty what is known, which ``witness`` must vouch for.  ``woken`` hears of
        every wake, changed or not; ``settled`` of every success.
        """
        self.status = WatchStatus(name)
        self._read = read
        self._apply = apply
        self._clock = surroundings.clock
        self._settings = surroundings.settings
        self._empties = empties
        self._witness = witness
        self._woken = woken
        self._settled = settled
        self._backoff = Backoff(
            surroundings.settings.backoff_base, surroundings.settings.backoff_cap
        )
        self._lock = asyncio.Lock()
        self._index = 0
        self._highest = 0
        self._digest = b""
        self._empty_since: float | None = None

    async def run(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Watch while ``wanted``.

        A watch that is no longer wanted ends when its query does: cancelled, the query would
        still hold its place among the agent's connections.
        """
        while wanted():
            await self.turn(block=True)

    async def turn(self, *, block: bool = False) -> bool:
        """Ask once, and pause as needed before the next time; whether the answer was taken.

        Turns do not overlap: an older answer must not come after a newer one.
        """
        async with self._lock:
            return await self._turn(block=block)

    async def _turn(self, *, block: bool) -> bool:
        index = self._index if block else 0
        # Not all in step: a fleet of watches that began together would also renew together.
        wait = self._settings.wait * (0.75 + 0.25 * random()) if index else 0  # noqa: S311 - no secret
        try:
            answer = await self._read(index=index, wait=wait)
            if wait and answer.index < index:
                # Any server may answer a query that waits, even one that is behind.
                answer, wait = await self._read(), 0
            pause = await self._take(answer, waited=bool(wait))
        except ConsulError as error:
            self._failed(str(error))
            await self._clock.sleep(self._backoff.next())
            return False
        except _HeldError as held:
            self._failed(str(held))
            lasted = self._clock.monotonic() - (self._empty_since or 0.0)
            await self._clock.sleep(self._settings.guard.pause(lasted))
            return False
        if pause:
            await self._clock.sleep(pause)
        return True

    async def _take(self, answer: Answer[T], *, waited: bool) -> float:
        woken = answer.index != self._index
        if answer.digest != self._digest:
            if self._empties(answer.value):
                answer = await self._confirmed(answer, waited=waited)
            self._apply(answer.value)
            self._digest = answer.digest
        self._empty_since = None
        fell = answer.index < self._index
        self._index = 0 if fell else answer.index
        self._highest = max(self._highest, answer.index)
        self.status = WatchStatus(self.status.name, self._clock.now())
        self._settled()
        if woken:
            self._woken()
        if self._index:
            self._backoff.reset()
            return 0.0
        # Without an index the next query does not block; it must not spin either.
        return self._backoff.next()

    async def _confirmed(self, answer: Answer[T], *, waited: bool) -> Answer[T]:
        now = self._clock.monotonic()
        if self._empty_since is None:
            self._empty_since = now
        if waited:
            # That was the answer of just any server; the leader's counts.
            answer = await self._read()
        if not self._empties(answer.value):
            return answer
        evidence = Evidence(
            witness=await self._witness(),
            regressed=answer.index < self._highest,
            lasted=now - self._empty_since,
        )
        doubt = judge(evidence, self._settings.guard)
        if doubt:
            raise _HeldError(doubt)
        return answer

    def _failed(self, why: str) -> None:
        if why != self.status.last_error:
            logger.warning(
                "Consul watch stands still",
                extra={"watch": self.status.name, "error": why},
            )
        self._index = 0
        self.status = WatchStatus(self.status.name, self.status.last_success, why)
