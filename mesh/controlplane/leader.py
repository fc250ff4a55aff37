"""One of several control planes does what must be done by one: a Consul session holds the key.

``campaign`` opens a session, tries to take ``mesh/leader`` with it, and waits for the key to
come free.  Whoever holds it runs the duties and renews the session.  Leadership ends at once
when the key is seen in other hands, when Consul says that the session is gone, or when it could
not be renewed for so long that Consul may have ended it: the duties are cancelled before anybody
tries again.  Consul's lock delay keeps the next leader out meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.tasks import TaskFailedError, Tasks
from mesh.clients.consul import ConsulClient, ConsulError

logger = logging.getLogger(__name__)

KEY: Final = "mesh/leader"
"""The lock."""
TTL: Final = 15.0
"""Seconds a session lives without renewal (Consul's least is 10)."""
LOCK_DELAY: Final = 2.0
"""Seconds that Consul keeps the key from others after a session was lost, not released."""
_SAFETY: Final = 2 / 3
_WATCH: Final = 10.0

Duty = Callable[[], Coroutine[Any, Any, None]]
"""Something only the leader does; it runs until cancelled."""


class Leader:
    """Campaigns for leadership and, while it holds, runs the duties."""

    def __init__(
        self,
        consul: ConsulClient,
        name: str,
        duties: Mapping[str, Duty],
        *,
        on_change: Callable[[bool], None] = lambda _: None,
        clock: Clock | None = None,
        ttl: float = TTL,
        lock_delay: float = LOCK_DELAY,
    ) -> None:
        """``name`` stands in the key for people to read; ``on_change`` hears of every change."""
        self._consul = consul
        self._name = name
        self._duties = duties
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._ttl = ttl
        self._lock_delay = lock_delay

    async def run(self) -> NoReturn:
        """Campaign until cancelled; on the way out, hand the key over at once."""
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                await self._campaign()
                backoff.reset()
            except (ConsulError, TaskFailedError) as error:
                logger.warning(
                    "not leading: trying again",
                    extra={"instance": self._name, "reason": str(error)},
                )
                await self._clock.sleep(backoff.next())

    async def _campaign(self) -> None:
        session = await self._consul.session_create(
            f"mesh leader {self._name}", ttl=self._ttl, lock_delay=self._lock_delay, checks=[]
        )
        try:
            async with Tasks("leader") as tasks:
                alive = tasks.spawn("renew the session", self._renewed(session))
                elected = tasks.spawn("wait for the lock", self._elected(session))
                await asyncio.wait({alive, elected}, return_when=asyncio.FIRST_COMPLETED)
                if not alive.done():
                    await self._lead(tasks, alive, session)
        finally:
            await self._resign(session)

    async def _lead(self, tasks: Tasks, alive: asyncio.Task[None], session: str) -> None:
        logger.info("leading", extra={"instance": self._name})
        self._on_change(True)  # noqa: FBT003 - the callback's one argument is the state
        try:
            held = tasks.spawn("watch the lock", self._held(session))
            for name, duty in self._duties.items():
                tasks.spawn(name, duty(), forever=True)
            await asyncio.wait({alive, held}, return_when=asyncio.FIRST_COMPLETED)
            logger.warning("leadership lost", extra={"instance": self._name})
        finally:
            # Not only the lock's word: the duties are over before anybody is told.
            await tasks.close()
            self._on_change(False)  # noqa: FBT003 - likewise

    async def _renewed(self, session: str) -> None:
        """Renew the session; return when it is, or may be, gone."""
        renewed = self._clock.monotonic()
        patience = self._ttl * _SAFETY
        while True:
            await self._clock.sleep(self._ttl / 3)
            started = self._clock.monotonic()
            left = max(renewed + patience - started, 0.1)
            try:
                async with asyncio.timeout(left):
                    if not await self._consul.session_renew(session):
                        return
                renewed = started
            except (ConsulError, TimeoutError) as error:
                logger.warning("session not renewed", extra={"reason": str(error)})
            if self._clock.monotonic() - renewed >= patience:
                return

    async def _elected(self, session: str) -> None:
        """Return when the lock is ours."""
        backoff = Backoff(0.2, 2.0)
        while True:
            try:
                if await self._consul.kv_put(KEY, self._name.encode(), acquire=session):
                    return
                seen = await self._consul.kv_get(KEY)
                if seen.value is not None and seen.value.session:
                    await self._consul.kv_get(KEY, index=seen.index, wait=_WATCH)
                    backoff.reset()
                    continue
            except ConsulError as error:
                logger.info("lock not taken", extra={"reason": str(error)})
            # Free, but within Consul's lock delay; or Consul did not answer.
            await self._clock.sleep(backoff.next())

    async def _held(self, session: str) -> None:
        """Return when the lock is no longer ours."""
        backoff = Backoff(0.2, 2.0)
        index = 0
        while True:
            try:
                seen = await self._consul.kv_get(KEY, index=index, wait=_WATCH if index else 0)
            except ConsulError:
                # Whether the session outlives Consul's silence is for the renewal to say.
                await self._clock.sleep(backoff.next())
                continue
            if seen.value is None or seen.value.session != session:
                return
            index = seen.index if seen.index >= index else 0

    async def _resign(self, session: str) -> None:
        try:
            # A release, unlike the session's end, has no lock delay: the next takes over at once.
            await self._consul.kv_put(KEY, self._name.encode(), release=session)
            await self._consul.session_destroy(session)
        except ConsulError as error:
            logger.info("lock left to expire", extra={"reason": str(error)})
