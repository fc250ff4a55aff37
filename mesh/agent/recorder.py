"""Writes down what Envoy acknowledged, so that the proxy can start when nobody answers.

Every two seconds the recorder asks Envoy for the counters of accepted updates, a few lines.  When
they have moved and come to rest, it fetches the whole configuration, makes it self-contained
(:mod:`mesh.agent.lastgood`), and replaces ``lastgood.json``.
"""

from __future__ import annotations

import json
import logging
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
_MOST_POSTPONED: Final = 5
"""Polls after which a configuration that never rests is recorded all the same."""


class Recorder:
    """Keeps ``lastgood.json`` equal to what the live Envoy runs."""

    def __init__(self, proxy: bootstrap.Proxy, state: StateDir, clock: Clock) -> None:
        """``proxy`` is what the recorded bootstrap says besides listeners and clusters."""
        self._proxy = proxy
        self._state = state
        self._clock = clock
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
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.warning("last known good kept as it was", extra={"reason": str(error)})
            return False
        self._complaint = ""
        self._recorded = changes
        content = json.dumps(
            bootstrap.static(self._proxy, found.listeners, found.clusters), sort_keys=True
        ).encode()
        if not found.listeners or content == self._state.read(LAST_GOOD):
            return False
        self._state.write(LAST_GOOD, content)
        logger.info(
            "last known good written",
            extra={"listeners": len(found.listeners), "clusters": len(found.clusters)},
        )
        return True
