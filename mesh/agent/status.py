"""How the proxy is, all on one page: ``/status`` on the readiness port, for ``mesh vm status``.

Nothing on it is secret, so whoever is on the host may ask, without root.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from mesh.agent import http
from mesh.agent.envoy_process import Role
from mesh.agent.readiness import Readiness, Status
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.agent.web import Page
from mesh.aio.clock import Clock

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
"""How often Envoy is asked whether it is connected to the zone."""

_SERVES: Final = {Role.LIVE: "live", Role.FALLBACK: "last known good"}


class Connection:
    """Whether Envoy has the zone's xDS server, and since when it has or has not."""

    def __init__(self, status: Status, clock: Clock) -> None:
        """Nothing is known yet."""
        self._status = status
        self._clock = clock
        self.connected = False
        self.since = clock.now()

    async def run(self) -> None:
        """Look, again and again; runs forever."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        admin = self._status.admin
        try:
            found = admin is not None and await admin.connected()
        except http.RequestError as error:
            logger.debug("envoy does not say whether it is connected", extra={"why": str(error)})
            found = False
        if found != self.connected:
            self.connected, self.since = found, self._clock.now()


class StatusPage:
    """Answers ``/status``."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDir,
        status: Status,
        pages: Readiness,
        connection: Connection,
    ) -> None:
        """``status`` is read at each request."""
        self._settings = settings
        self._state = state
        self._status = status
        self._readiness = pages
        self._connection = connection

    async def page(self) -> Page:
        """Return the page."""
        await self._connection.look()
        return Page(HTTPStatus.OK, json.dumps(await self.document()).encode(), "application/json")

    async def document(self) -> dict[str, Any]:
        """Return what the page says; moments are in ISO 8601, and null is what is not known."""
        missing = await self._readiness.reasons()
        supervisor, svid = self._status.supervisor, self._status.svid
        serving = supervisor.serving if supervisor is not None else None
        return {
            "service": self._settings.service,
            "id": self._settings.id,
            "version": self._settings.version,
            "ready": not missing,
            "missing": list(missing),
            "draining": self._status.draining,
            "serving": _SERVES[serving.run.role] if serving is not None else None,
            "certificate": None
            if svid is None
            else {
                "identity": svid.workload.uri,
                "serial": svid.serial,
                "not_after": svid.not_after.isoformat(),
            },
            "zone": {
                "name": svid.zone if svid is not None else None,
                "connected": self._connection.connected,
                "since": self._connection.since.isoformat(),
            },
            "last_known_good": self._last_known_good(),
            "registration": self._registration(),
        }

    def _registration(self) -> dict[str, Any]:
        found = self._status.registration
        return {
            "with": self._settings.register,
            "registered": found is not None and found.registered,
            "problem": found.complaint if found is not None else "",
        }

    def _last_known_good(self) -> str | None:
        try:
            written = (self._state.path / LAST_GOOD).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(written, UTC).isoformat()
