"""Sessions and what their end does to the keys they hold.

A session ends when it is destroyed, when its TTL runs out without renewal, when a check it
rests on turns critical or goes, or with its node.  The keys it held are released or deleted,
and may not be locked again for the session's lock delay, so that a former holder that does
not know yet has time to stop.
"""

from __future__ import annotations

import uuid

import msgspec

from mesh.embedded import kv
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import SERF_HEALTH, Check, Session
from mesh.embedded.store import SESSIONS, Transaction

_UUID_LENGTH = 36


def create(tx: Transaction, session: Session) -> Session:
    """Create ``session`` on its node; every check it names must exist and not be critical."""
    if session.behavior not in {"release", "delete"}:
        raise RefusedError(f"Invalid Behavior setting '{session.behavior}'")
    if tx.store.nodes.get(session.node) is None:
        raise RefusedError("Missing node registration")
    for check_id in _checks(session):
        check = tx.store.checks.get(session.node, check_id)
        if check is None:
            raise RefusedError(f"Missing check '{check_id}' registration")
        if check.status == "critical":
            raise RefusedError(f"Check '{check_id}' is in critical state")
    tx.touch(SESSIONS)
    return tx.put(tx.store.sessions, session)


def destroy(tx: Transaction, session_id: str) -> None:
    """End a session, if it lives, and free its keys."""
    session = tx.delete(tx.store.sessions, session_id)
    if session is None:
        return
    tx.touch(SESSIONS)
    for pair in tx.store.kv.by("session", session_id):
        if session.behavior == "delete":
            kv.delete(tx, pair.name)
        else:
            kv.write(tx, msgspec.structs.replace(pair, session=""))
        if session.lock_delay > 0:
            tx.delay_lock(pair.name, session.lock_delay)


def invalidate_by_check(tx: Transaction, check: Check) -> None:
    """End the sessions that rest on ``check``."""
    for session in tx.store.sessions.by("node", check.node):
        if check.id in _checks(session):
            destroy(tx, session.id)


def checked_id(session_id: str) -> str:
    """Return ``session_id`` if it has the form of one."""
    if len(session_id) != _UUID_LENGTH:
        raise RefusedError("failed session lookup: index error: UUID must be 36 characters")
    try:
        return str(uuid.UUID(session_id))
    except ValueError as error:
        raise RefusedError(f"failed session lookup: index error: {error}") from error


def default_checks() -> list[str]:
    """Return the checks that a session rests on unless it says otherwise."""
    return [SERF_HEALTH]


def _checks(session: Session) -> list[str]:
    services = [check.get("ID", "") for check in session.service_checks or ()]
    return [*(session.node_checks or ()), *services]
