"""The registry at work: transactions on the store, carried to disk, then told to the world.

The order of a write is: applied in memory; committed to disk; those who wait are woken and
the timers and check runners follow; the writer is answered.  If the disk refuses, memory goes
back to what the disk has, the writers are told so, and everyone who waits looks again.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from mesh.embedded import catalog
from mesh.embedded.errors import RefusedError
from mesh.embedded.journal import Journal
from mesh.embedded.persistence import Persistence, PersistenceError
from mesh.embedded.records import SERF_HEALTH, Check, Node, Service
from mesh.embedded.store import Changes, Store, Transaction
from mesh.embedded.watchers import Watchers

T = TypeVar("T")

logger = logging.getLogger(__name__)

NODE_NAME = "embedded"
"""The registry's own node, on which its agent API registers."""
OWN_SERVICE = "consul"
"""The service as which the registry lists itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the registry presents itself.

    ``default_allow`` is the verdict on a call that no intention matches.  ``neighbours`` are the
    URLs of the registries of other datacenters, by name.  The shortest times are Consul's; a test
    may lower them.
    """

    datacenter: str = "dc1"
    token: str = ""
    default_allow: bool = False
    address: str = "127.0.0.1"
    neighbours: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    shortest_session_ttl: float = 10.0
    shortest_deregister_after: float = 60.0


class Core:
    """State, disk and waiters of one registry.  Made inside a running event loop."""

    def __init__(self, persistence: Persistence, settings: Settings) -> None:
        """Read the state from ``persistence``, which is the core's from here on.

        Raises:
            PersistenceError: the state cannot be read.

        """
        self.settings = settings
        self.closing = False
        self.watchers = Watchers()
        self.observers: list[Callable[[Changes], None]] = []
        self.rendered: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self._locked_until: dict[str, float] = {}
        self._persistence = persistence
        try:
            self.store = self._persistence.load()
            self._journal = Journal(self._persistence, self._durable, self._lost)
        except BaseException:
            self._persistence.close()
            raise

    async def prepare(self) -> None:
        """See to it that the registry's own node is there, with the service that Consul has."""
        await self.write(self._put_own_node)

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """Apply ``change`` and return its result once it is on disk.

        Raises:
            RefusedError: by ``change``, or because the disk refused; nothing happened.

        """
        result, durable = self._apply(change)
        try:
            await durable
        except PersistenceError as error:
            raise RefusedError(str(error)) from error
        return result

    def write_soon(self, change: Callable[[Transaction], object]) -> None:
        """Apply ``change`` now, on the registry's own account; nobody waits for the disk."""
        _, durable = self._apply(change)
        durable.add_done_callback(lambda done: done.exception())

    def is_lock_delayed(self, name: str) -> bool:
        """Whether a session's end forbids locking the key ``name`` for now."""
        until = self._locked_until.get(name)
        if until is None:
            return False
        if until > time.monotonic():
            return True
        del self._locked_until[name]
        return False

    def stop_waiting(self) -> None:
        """Answer every blocked query with what there is."""
        self.closing = True
        self.watchers.wake_everyone()

    async def close(self) -> None:
        """Finish writing and close the file."""
        self.stop_waiting()
        await self._journal.close()

    def _apply(self, change: Callable[[Transaction], T]) -> tuple[T, asyncio.Future[None]]:
        with self.store.transaction() as tx:
            result = change(tx)
        for name, seconds in tx.changes.lock_delays.items():
            self._locked_until[name] = time.monotonic() + seconds
        return result, self._journal.append(tx.changes)

    def _put_own_node(self, tx: Transaction) -> None:
        known = tx.store.nodes.get(NODE_NAME)
        address = self.settings.address
        catalog.put_node(
            tx,
            Node(
                name=NODE_NAME,
                address=address,
                id=known.id if known else str(uuid.uuid4()),
                tagged_addresses=dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), address),
                meta={"consul-network-segment": ""},
            ),
        )
        catalog.put_check(
            tx,
            Check(
                node=NODE_NAME,
                id=SERF_HEALTH,
                name="Serf Health Status",
                status="passing",
                output="Agent alive and reachable",
            ),
        )
        # As every Consul server registers itself: what is always there tells a reader that the
        # rest is empty because it is empty, not because it may not be seen.
        catalog.put_service(tx, Service(node=NODE_NAME, id=OWN_SERVICE, name=OWN_SERVICE))

    def _durable(self, batch: list[Changes]) -> None:
        for changes in batch:
            for observer in self.observers:
                observer(changes)
            self.watchers.wake(changes)

    def _lost(self) -> None:
        logger.error("the registry's disk refused a write; its memory goes back to the disk")
        # Indexes of what is lost may have been seen, so they are not given out again.
        index = self.store.index + 1
        rows = self._persistence.load()
        self.store = Store(index)
        self.store.load((table.name, row) for table in rows.tables for row in table.all())
        self.rendered.clear()
        self.watchers.wake_everyone()
