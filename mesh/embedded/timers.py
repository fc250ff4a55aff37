"""Sessions that run out.

Consul ends a session some time between one and two TTLs after its last renewal; like its
leader, this waits for two.  After a restart every session has its full time again.
"""

from __future__ import annotations

import asyncio

from mesh.embedded import durations, sessions
from mesh.embedded.core import Core
from mesh.embedded.records import Session
from mesh.embedded.store import Changes

_TTL_MULTIPLIER = 2


class SessionTimers:
    """One timer per session that has a TTL."""

    def __init__(self, core: Core) -> None:
        """Follow every session of ``core``."""
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        for session in core.store.sessions.all():
            self.renew(session)
        core.observers.append(self._observe)

    def renew(self, session: Session) -> None:
        """Give ``session`` its full time from now."""
        self._cancel(session.id)
        if session.ttl:
            wait = durations.parse(session.ttl) * _TTL_MULTIPLIER
            self._timers[session.id] = self._loop.call_later(wait, self._expire, session.id)

    def close(self) -> None:
        """Let no session run out any more."""
        for session_id in list(self._timers):
            self._cancel(session_id)

    def _observe(self, changes: Changes) -> None:
        for (table, key), record in changes.rows.items():
            if table != self._core.store.sessions.name:
                continue
            if isinstance(record, Session):
                self.renew(record)
            else:
                self._cancel(key[0])

    def _expire(self, session_id: str) -> None:
        self._timers.pop(session_id, None)
        self._core.write_soon(lambda tx: sessions.destroy(tx, session_id))

    def _cancel(self, session_id: str) -> None:
        timer = self._timers.pop(session_id, None)
        if timer is not None:
            timer.cancel()
