"""Writes down what Envoy acknowledged, so that the proxy can start when nobody answers.

Every two seconds the recorder asks Envoy for the counters of accepted updates, a few lines.  When
they have moved and come to rest, it fetches the whole configuration, makes it self-contained
(:mod:`mesh.agent.lastgood`), has Envoy itself judge the result, and replaces ``lastgood.json``.

The judgement is not for show: a discovered filter that Envoy refused stands in its dump all the
same, and a file with it would let nothing start on the day when it is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from mesh.agent import lastgood
from mesh.agent.admin import Admin
from mesh.agent.http import RequestError
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD, Supervisor
from mesh.aio.clock import Clock
from mesh.envoy import bootstrap

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
CANDIDATE: Final = "lastgood.candidate.json"
"""What Envoy has yet to judge."""
_MOST_POSTPONED: Final = 5
"""Polls after which a configuration that never rests is recorded all the same."""


class Recorder:
    """Keeps ``lastgood.json`` equal to what the live Envoy runs."""

    def __init__(
        self,
        proxy: bootstrap.Proxy,
        state: StateDir,
        clock: Clock,
        refusal: Callable[[str], Awaitable[str]],
    ) -> None:
        """``proxy`` is what the recorded bootstrap says besides listeners and clusters.

        ``refusal`` says why Envoy would not start from a file of the state directory.
        """
        self._proxy = proxy
        self._state = state
        self._clock = clock
        self._refusal = refusal
        self._recorded: bytes | None = None
        self._seen: bytes | None = None
        self._postponed = 0
        self._complaint = ""

    async def run(self, supervisor: Supervisor) -> None:
        """Follow the live Envoy; runs forever."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            live = supervisor.live
            if live is None:
                self._recorded = self._seen = None
                continue
            try:
                await self.poll(live.admin)
            except RequestError as error:
                logger.debug("envoy did not tell its state", extra={"reason": str(error)})
            except OSError as error:  # a full disk: the file of before stands
                logger.warning("last known good not written", extra={"reason": str(error)})

    async def poll(self, admin: Admin) -> bool:
        """Look once; return whether a new configuration was written."""
        changes = await admin.changes()
        if changes == self._recorded:
            return False
        resting = changes == self._seen
        self._seen = changes
        self._postponed += 1
        if not resting and self._postponed < _MOST_POSTPONED:
            return False
        self._postponed = 0
        return await self._record(admin, changes)

    async def _record(self, admin: Admin, changes: bytes) -> bool:
        try:
            found = lastgood.resources(await admin.config_dump())
        except lastgood.IncompleteDumpError as error:
            return self._keep(str(error))
        content = json.dumps(
            bootstrap.static(self._proxy, found.listeners, found.clusters), sort_keys=True
        ).encode()
        if not found.listeners or content == self._state.read(LAST_GOOD):
            self._recorded = changes
            return False
        self._state.write(CANDIDATE, content)
        try:
            reason = await self._refusal(CANDIDATE)
        finally:
            self._state.remove(CANDIDATE)
        if reason:
            self._recorded = changes  # it would say the same again
            return self._keep(f"envoy would not start from the present one: {reason}")
        self._state.write(LAST_GOOD, content)
        self._recorded = changes
        self._complaint = ""
        logger.info(
            "last known good written",
            extra={"listeners": len(found.listeners), "clusters": len(found.clusters)},
        )
        return True

    def _keep(self, reason: str) -> bool:
        if reason != self._complaint:
            self._complaint = reason
            logger.warning("last known good kept as it was", extra={"reason": reason})
        return False
