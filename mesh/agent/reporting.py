"""What the agent tells the service manager: ready, reloading, stopping, and a line for people.

Ready means here that Envoy serves, from the last known good configuration if the zone is away: a
host that boots waits for nobody.  What a caller may still miss stands in the line, as on ``/ready``
(:mod:`mesh.agent.readiness`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NoReturn

from mesh.agent.enrolment import Enrolment
from mesh.agent.envoy_process import Role
from mesh.agent.identity import Svid
from mesh.agent.readiness import Readiness, Status
from mesh.aio.clock import Clock
from mesh.aio.notify import Notifier

_BUSY_TICK: Final = 0.1
_CALM_TICK: Final = 1.0
_LOOK_EVERY: Final = 5.0
"""Seconds between two looks at Envoy, once it serves."""


class Reporter:
    """Says how one proxy is, from the moment the agent runs."""

    def __init__(
        self, notifier: Notifier, status: Status, pages: Readiness, enrolment: Enrolment
    ) -> None:
        """Everything is read at each look."""
        self._notifier = notifier
        self._status = status
        self._pages = pages
        self._enrolment = enrolment
        self._ready = False
        self._tries: int | None = None
        self._next_look = 0.0

    def renewing(self) -> None:
        """Say that a certificate was asked for; :meth:`run` says when that has been tried."""
        if self._ready:
            self._tries = self._enrolment.tries
            self._notifier.reloading()

    def stopping(self) -> None:
        """Say that the proxy was asked to stop."""
        self._next_look = math.inf
        self._notifier.stopping()
        self._notifier.status("stopping: waits for connections to end, no longer than `drain`")

    async def run(self, clock: Clock) -> NoReturn:
        """Say what is new.  Runs forever."""
        while True:
            tried = self._tries is not None and self._enrolment.tries > self._tries
            serves = self._status.admin is not None
            news = tried or (serves and not self._ready)
            if self._next_look < math.inf and (news or clock.monotonic() >= self._next_look):
                self._next_look = clock.monotonic() + (_LOOK_EVERY if serves else 0)
                line = await self._in_words()
                if self._next_look < math.inf:  # nobody asked for a stop meanwhile
                    self._notifier.status(line)
            if news:
                self._ready = True
                self._notifier.ready()
            if tried:
                self._tries = None
            calm = self._ready and self._tries is None
            await clock.sleep(_CALM_TICK if calm else _BUSY_TICK)

    async def _in_words(self) -> str:
        supervisor = self._status.supervisor
        serving = supervisor.serving if supervisor else None
        return in_words(
            self._status.svid,
            serving.run.role if serving else None,
            await self._pages.reasons() if serving else (),
            problem=self._enrolment.problem,
        )


def in_words(svid: Svid | None, role: Role | None, reasons: Sequence[str], *, problem: str) -> str:
    """Return the line for the operator.

    Args:
        svid: the identity, if there is one.
        role: of the Envoy that serves, if one does.
        reasons: why the proxy is not ready for callers.
        problem: why the zone gave no certificate when it was last asked.

    """
    if svid is None:
        return f"waits for the zone: {problem}" if problem else "asks the zone for an identity"
    if role is None:
        return "starts Envoy"
    source = (
        f"follows zone {svid.zone}"
        if role is Role.LIVE
        else f"serves the last known good configuration until zone {svid.zone} answers"
    )
    parts = [
        f"not ready: {', '.join(reasons)}" if reasons else "ready",
        source,
        f"certificate until {svid.not_after:%Y-%m-%d %H:%M} UTC",
    ]
    if problem:
        parts.append(f"not renewed: {problem}")
    return "; ".join(parts)
