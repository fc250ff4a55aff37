"""Learning what happens to a call that no intention matches.

No blocking query tells, so Consul is asked for a verdict: from time to time, and when
intentions wake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mesh.aio.backoff import Backoff
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.loop import Surroundings, WatchStatus

logger = logging.getLogger(__name__)


class DefaultPolicy:
    """Keeps the default policy up to date."""

    def __init__(
        self,
        client: ConsulClient,
        knowledge: Knowledge,
        surroundings: Surroundings,
        settled: Callable[[str], None],
    ) -> None:
        """``settled`` hears of every success."""
        self.status = WatchStatus("default policy")
        self._client = client
        self._knowledge = knowledge
        self._clock = surroundings.clock
        self._every = surroundings.settings.policy_every
        self._backoff = Backoff(
            surroundings.settings.backoff_base, surroundings.settings.backoff_cap
        )
        self._settled = settled
        self._asked = asyncio.Event()
        self._lock = asyncio.Lock()

    def ask(self) -> None:
        """Have it learned again soon."""
        self._asked.set()

    async def run(self) -> None:
        """Learn it, and again from time to time."""
        while True:
            learned = await self._learn()
            await self._clock.sleep(self._every if learned else self._backoff.next())

    async def hear(self) -> None:
        """Learn it whenever somebody asks."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._learn()

    async def _learn(self) -> bool:
        async with self._lock:
            try:
                allow = await self._client.default_allow()
            except ConsulError as error:
                if str(error) != self.status.last_error:
                    logger.warning("default policy unknown", extra={"error": str(error)})
                self.status = WatchStatus(self.status.name, self.status.last_success, str(error))
                return False
        if allow is not None:
            self._knowledge.default_policy(allow=allow)
        elif not self._knowledge.knows_default_policy:
            # Hidden behind an intention from anybody to anybody; the safe guess.
            self._knowledge.default_policy(allow=False)
        self._backoff.reset()
        self.status = WatchStatus(self.status.name, self._clock.now())
        self._settled(self.status.name)
        return True
