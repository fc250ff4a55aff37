"""The registry's state and what a write changed in it; no I/O, no clock.

Every write is a transaction with an index of its own.  It notes the rows it wrote, for the
disk, and the *topics* it touched, for those who wait: a topic is a question that a blocked
query asks ("the instances of web"), and the index of the last write that may have changed its
answer is the query's ``X-Consul-Index``.  A transaction that changes nothing takes no index,
so registering the same thing again wakes nobody.

A write is visible to readers at once and acknowledged when the disk has it; the order is
:mod:`mesh.embedded.core`'s business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec

from mesh.embedded.records import Check, CheckPlan, Entry, Node, Pair, Record, Service, Session
from mesh.embedded.tables import Key, Keyed, SortedTable, Table

R = TypeVar("R", bound=Keyed)

NODES = "nodes"
SERVICES = "services"
CHECKS = "checks"
SESSIONS = "sessions"
CONFIG = "config"
INTENTIONS = "intentions"

_TOMBSTONES = 10_000


def service_topic(name: str) -> str:
    """Topic of the instances of a service, with their checks and nodes."""
    return f"service/{name}"


def connect_topic(name: str) -> str:
    """Topic of the proxies that stand before a service."""
    return f"connect/{name}"


def checks_topic(name: str) -> str:
    """Topic of the checks of a service's instances."""
    return f"service-checks/{name}"


def node_topic(name: str) -> str:
    """Topic of a node and its services."""
    return f"node/{name}"


def node_checks_topic(name: str) -> str:
    """Topic of the checks of a node and of its services."""
    return f"node-checks/{name}"


def instance(node: str, service_id: str) -> str:
    """Name one service on one node, for the index of checks; no service means the node."""
    return f"{node}\0{service_id}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction did.

    ``rows`` is what the disk must know (None where a row went), ``topics`` and ``keys`` whose
    waiters are to wake, ``lock_delays`` for how many seconds a freed key may not be locked.
    """

    index: int
    rows: Mapping[tuple[str, Key], Record | None]
    topics: frozenset[str]
    keys: frozenset[str]
    lock_delays: Mapping[str, float]


class Store:
    """All tables, the last index, and the index of every topic that was ever touched."""

    def __init__(self, index: int = 1) -> None:
        """Begin after ``index``; a topic that was never touched has it as its own."""
        self.index = index
        self._floor = index
        self._topics: dict[str, int] = {}
        self._tombstones: OrderedDict[str, int] = OrderedDict()
        self._buried = index
        self.nodes = Table("nodes", Node, id=lambda node: (node.id,) if node.id else ())
        self.services = Table(
            "services",
            Service,
            name=lambda service: (service.name,),
            node=lambda service: (service.node,),
            connect=lambda service: (service.connects_to,) if service.connects_to else (),
        )
        self.checks = Table(
            "checks",
            Check,
            node=lambda check: (check.node,),
            service=lambda check: (check.service_name,) if check.service_name else (),
            instance=lambda check: (instance(check.node, check.service_id),),
        )
        self.sessions = Table("sessions", Session, node=lambda session: (session.node,))
        self.entries = Table("entries", Entry, kind=lambda entry: (entry.kind,))
        self.plans = Table(
            "plans",
            CheckPlan,
            service=lambda plan: (plan.service_id,),
            alias=lambda plan: (plan.target,) if plan.kind == "alias" else (),
        )
        self.kv = SortedTable(
            "kv", Pair, session=lambda pair: (pair.session,) if pair.session else ()
        )
        self.tables: tuple[Table[Any], ...] = (
            self.nodes,
            self.services,
            self.checks,
            self.sessions,
            self.entries,
            self.plans,
            self.kv,
        )

    def load(self, rows: Iterable[tuple[str, Record]]) -> None:
        """Fill the tables with what the disk had."""
        tables = {table.name: table for table in self.tables}
        for name, record in rows:
            tables[name].put(record)

    def topic_index(self, *topics: str) -> int:
        """Return the index of the newest write to any of ``topics``; never 0."""
        return max((self._topics.get(topic, self._floor) for topic in topics), default=self._floor)

    def prefix_index(self, prefix: str) -> int:
        """Return the index of the newest write or deletion among the keys below ``prefix``."""
        gone = (index for key, index in self._tombstones.items() if key.startswith(prefix))
        newest = (pair.modify_index for pair in self.kv.scan(prefix))
        return max((self._buried, *newest, *gone))

    def key_index(self, name: str) -> int:
        """Return the index of the newest write or deletion of one key."""
        pair = self.kv.get(name)
        return pair.modify_index if pair else self._tombstones.get(name, self._buried)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a write: all of it happens, or, on any exception, none."""
        transaction = Transaction(self)
        try:
            yield transaction
        except BaseException:
            transaction.rollback()
            raise
        transaction.finish()

    def publish(self, changes: Changes) -> None:
        """Let the topics and tombstones know of a finished transaction."""
        self.index = changes.index
        self._topics.update(dict.fromkeys(changes.topics, changes.index))
        for key in changes.keys:
            self._tombstones.pop(key, None)
            if self.kv.get(key) is None:
                self._tombstones[key] = changes.index
        while len(self._tombstones) > _TOMBSTONES:
            self._buried = max(self._buried, self._tombstones.popitem(last=False)[1])


@dataclass(slots=True)
class Transaction:
    """One write under way.  Records are put with the indexes filled in."""

    store: Store
    _undo: list[tuple[Table[Any], Key, Any]] = field(default_factory=list)
    _topics: set[str] = field(default_factory=set)
    _keys: set[str] = field(default_factory=set)
    _lock_delays: dict[str, float] = field(default_factory=dict)
    _changes: Changes | None = None

    @property
    def index(self) -> int:
        """The index this write has if it changes anything."""
        return self.store.index + 1

    @property
    def changes(self) -> Changes:
        """What the finished transaction did."""
        if self._changes is None:
            raise RuntimeError("the transaction is still open")
        return self._changes

    def put(self, table: Table[R], record: R) -> R:
        """Write ``record`` unless it says what is there already; return what stands there."""
        former = cast("Record | None", table.get(*record.key))
        new = cast("Record", record)
        created = former.create_index if former else self.index
        if former is not None:
            same = _reindexed(new, created, former.modify_index)
            if same == former:
                return cast("R", former)
        written = cast("R", _reindexed(new, created, self.index))
        self._undo.append((table, record.key, table.put(written)))
        return written

    def delete(self, table: Table[R], *key: str) -> R | None:
        """Take the record at ``key`` out, if there is one."""
        former = table.delete(key)
        if former is not None:
            self._undo.append((table, key, former))
        return former

    def touch(self, *topics: str) -> None:
        """Say that the answers to ``topics`` may have changed."""
        self._topics.update(topics)

    def touch_key(self, name: str) -> None:
        """Say that the pair at ``name`` changed."""
        self._keys.add(name)

    def delay_lock(self, name: str, seconds: float) -> None:
        """Say that ``name`` was freed by a session's end and may not be locked for a while."""
        self._lock_delays[name] = seconds

    def rollback(self) -> None:
        """Undo every write, last first."""
        for table, key, former in reversed(self._undo):
            if former is None:
                table.delete(key)
            else:
                table.put(former)
        self._undo.clear()

    def finish(self) -> None:
        """Close the transaction: from here its index is taken, if it changed anything."""
        rows = {
            (table.name, key): cast("Record | None", table.get(*key))
            for table, key, _ in self._undo
        }
        self._changes = Changes(
            self.index if rows else self.store.index,
            rows,
            frozenset(self._topics) if rows else frozenset(),
            frozenset(self._keys) if rows else frozenset(),
            dict(self._lock_delays),
        )
        if rows:
            self.store.publish(self._changes)


def _reindexed(record: Record, created: int, modified: int) -> Record:
    return msgspec.structs.replace(record, create_index=created, modify_index=modified)
