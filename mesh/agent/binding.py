"""A state directory belongs to one machine and to one instance, both written down in it.

The first agent writes ``machine.json``; every later one compares before it touches anything else,
so that a copy of the machine starts with a refusal instead of with its source's key, proof and
instance.  The instance's id stays what it was at first, whatever the hostname becomes.

The record follows the machine: each start writes what is found then, so interfaces may be replaced
one after another.
"""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mesh.agent.errors import ForeignStateError, StateError
from mesh.agent.identity_files import ABOUT
from mesh.agent.machine import Machine, difference, look
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir

logger = logging.getLogger(__name__)

BINDING: Final = "machine.json"
_LONGEST: Final = 100
"""Letters that the zone takes for the id of an instance."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Whose state it is."""

    machine: Machine
    service: str
    instance: str

    def to_json(self) -> bytes:
        """Write what :func:`read` reads."""
        raw = {"machine": self.machine.to_json(), "service": self.service, "id": self.instance}
        return json.dumps(raw, indent=1).encode()


def read(state: StateDir) -> Binding | None:
    """Return whose state it is; None if nobody has written it down.

    Raises:
        StateError: what is written cannot be read.

    """
    content = state.read(BINDING)
    return None if content is None else parsed(content, state.path / BINDING)


def parsed(content: bytes, file: Path) -> Binding:
    """Read what ``file`` holds.

    Raises:
        StateError: that is no record of a machine.

    """
    try:
        raw = json.loads(content)
        machine = Machine.from_json(raw["machine"])
        return Binding(machine, str(raw["service"]), str(raw["id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"{file}, which says whose state this is, cannot be read: {error!r}",
            "If the directory was made on this machine, remove that file; else see "
            "`mesh vm join --help`.",
        ) from error


def bind(state: StateDir, machine: Machine, service: str, configured: str = "") -> str:
    """Make ``state`` this machine's, or check that it is; return the instance's id.

    Args:
        state: the directory, locked.
        machine: the one that this is.
        service: whose proxy works there.
        configured: the id in the settings, which stands over the one written down.

    Raises:
        ForeignStateError: the state is another machine's.
        StateError: it cannot be told whose it is.

    """
    kept = read(state)
    foreign = difference(kept.machine, machine) if kept is not None else ""
    if foreign:
        raise ForeignStateError(
            f"state directory {state.path} was made on another machine than this one: {foreign}",
            "Is this a copy of a machine? Nothing of its source is used. Give it an identity of "
            f"its own: `mesh token create --service {service}`, then `mesh vm join` anew with "
            "that token; or empty the directory and put the new token where the old one was.",
        )
    # Of before there were bindings: its instance is registered under the name alone.
    is_older = kept is None and state.read(ABOUT) is not None
    if configured:
        instance = configured
    elif kept is not None and kept.service == service:
        instance = kept.instance
    else:
        instance = default_instance(service, Machine() if is_older else machine)
    found = Binding(machine, service, instance)
    if found != kept:
        _write(state, found, is_first=kept is None and not is_older)
    return instance


def bound(settings: AgentSettings, state: StateDir) -> AgentSettings:
    """Return the settings with the instance's id, once ``state`` is known to be this machine's.

    Raises:
        StateError: it is another's, or it cannot be told whose it is.

    """
    machine = look(settings.machine_uuid_file)
    return replace(settings, id=bind(state, machine, settings.service, settings.id))


def default_instance(service: str, machine: Machine, hostname: str = "") -> str:
    """Return the id of an instance that nobody named: service, host, and a digest of the machine.

    The digest is for copies, which have their source's hostname until somebody gives them
    another.  A machine without an id has only its name.
    """
    host = (hostname or socket.gethostname()).partition(".")[0]
    name = f"{service}-{host}"
    if not machine.id:
        return name[:_LONGEST]
    suffix = f"-{machine.digest()}"
    return f"{name[: _LONGEST - len(suffix)]}{suffix}"


def _write(state: StateDir, found: Binding, *, is_first: bool) -> None:
    try:
        state.write(BINDING, found.to_json())
    except OSError as error:
        if not is_first:
            # The next start tries again: a full disk must not keep a proxy from serving.
            logger.warning("the machine's record is as it was", extra={"reason": str(error)})
            return
        raise StateError(
            f"{state.path / BINDING} cannot be written: {error.strerror}",
            "Is the disk full, or mounted read-only? See `df` and `mount`.",
        ) from error
