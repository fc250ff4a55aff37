"""What each verb of a transaction does to each table."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mesh.embedded import catalog, definitions, kv, sessions, wire
from mesh.embedded.decode import Body
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Pair, Record
from mesh.embedded.store import Transaction

READS = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})
"""Verbs that change nothing."""


Results = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing to do: a table's name (KV, Node, Service, Check), a verb, and what with."""

    table: str
    verb: str
    body: Body

    @property
    def only_reads(self) -> bool:
        """Whether it cannot change anything."""
        return self.verb in READS


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a verb has to know beyond the store."""

    datacenter: str
    is_lock_delayed: Callable[[str], bool]


def _key(tx: Transaction, operation: Operation, place: Surroundings) -> Results:
    if operation.only_reads:
        return _read_key(tx, operation)
    if operation.verb.startswith("delete"):
        _delete_key(tx, operation)
        return []
    return [{"KV": wire.pair(_write_key(tx, operation, place), value=False)}]


def _write_key(tx: Transaction, operation: Operation, place: Surroundings) -> Pair:
    body = operation.body
    name, session = body.text("Key"), body.text("Session")
    pair = Pair(name=name, value=value(body), flags=body.number("Flags"))
    match operation.verb:
        case "set":
            return kv.put(tx, pair)
        case "cas":
            written = kv.put_if(tx, pair, body.number("Index"))
            why = f'failed to set key "{name}", index is stale'
        case "lock":
            if place.is_lock_delayed(name):
                raise RefusedError(f'failed to lock key "{name}" due to lock delay')
            written = kv.lock(tx, pair, sessions.checked_id(session))
            why = f'failed to lock key "{name}", lock is already held'
        case "unlock":
            written = kv.unlock(tx, pair, session)
            why = f'failed to unlock key "{name}", lock isn\'t held, or is held by another session'
        case _:
            raise RefusedError(f'unknown KV verb "{operation.verb}"')
    if written is None:
        raise RefusedError(why)
    return written


def _delete_key(tx: Transaction, operation: Operation) -> None:
    name = operation.body.text("Key")
    match operation.verb:
        case "delete":
            kv.delete(tx, name)
        case "delete-tree":
            kv.delete_tree(tx, name)
        case "delete-cas":
            if not kv.delete_if(tx, name, operation.body.number("Index")):
                raise RefusedError(f'failed to delete key "{name}", index is stale')
        case _:
            raise RefusedError(f'unknown KV verb "{operation.verb}"')


def _read_key(tx: Transaction, operation: Operation) -> Results:
    name = operation.body.text("Key")
    found = tx.store.kv.get(name)
    match operation.verb:
        case "get":
            if found is None:
                raise RefusedError(f'key "{name}" doesn\'t exist')
            return [{"KV": wire.pair(found)}]
        case "get-tree":
            return [{"KV": wire.pair(pair)} for pair in tx.store.kv.scan(name)]
        case "check-not-exists":
            if found is not None:
                raise RefusedError(f'key "{name}" exists')
            return []
    what = "index" if operation.verb == "check-index" else "session"
    if found is None:
        raise RefusedError(f'failed to check {what}, key "{name}" doesn\'t exist')
    expected: object = operation.body.number("Index")
    actual: object = found.modify_index
    if what == "session":
        expected, actual = operation.body.text("Session"), found.session
    if expected != actual:
        raise RefusedError(f'failed {what} check for key "{name}", current {what} {actual}')
    return [{"KV": wire.pair(found, value=False)}]


def _node(tx: Transaction, operation: Operation, place: Surroundings) -> Results:
    body = operation.body.body("Node")
    name = body.text("Node")
    found = tx.store.nodes.get(name)
    if operation.verb == "get" and found is None:
        raise RefusedError(f'node "{name}" doesn\'t exist')
    if _writes(operation, found, body.number("ModifyIndex"), f'node "{name}"'):
        found = catalog.put_node(tx, definitions.node(body))
    elif operation.verb != "get":
        catalog.delete_node(tx, name)
        return []
    return [{"Node": wire.node(found, place.datacenter)}] if found else []


def _service(tx: Transaction, operation: Operation, _: Surroundings) -> Results:
    body, at = operation.body.body("Service"), operation.body.text("Node")
    wanted = definitions.service(body, node=at)
    found = tx.store.services.get(*wanted.key)
    if operation.verb == "get":
        if found is None:
            raise RefusedError(f'service "{wanted.id}" on node "{at}" doesn\'t exist')
    elif not wanted.name:
        raise RefusedError("Must provide service name with ID")
    label = f'service "{wanted.id}" on node "{at}"'
    if _writes(operation, found, body.number("ModifyIndex"), label):
        found = catalog.put_service(tx, wanted)
    elif operation.verb != "get":
        catalog.delete_service(tx, at, wanted.id)
        return []
    return [{"Service": wire.service(found)}] if found else []


def _check(tx: Transaction, operation: Operation, _: Surroundings) -> Results:
    body = operation.body.body("Check")
    wanted = definitions.check(body, body.text("Node"))
    found = tx.store.checks.get(*wanted.key)
    label = f'check "{wanted.id}" on node "{wanted.node}"'
    if operation.verb == "get" and found is None:
        raise RefusedError(f"{label} doesn't exist")
    if _writes(operation, found, body.number("ModifyIndex"), label):
        found = catalog.put_check(tx, wanted)
    elif operation.verb != "get":
        catalog.delete_check(tx, *wanted.key)
        return []
    return [{"Check": wire.check(found)}] if found else []


def _writes(operation: Operation, found: Record | None, index: int, label: str) -> bool:
    verb = operation.verb
    if verb not in {"get", "set", "cas", "delete", "delete-cas"}:
        raise RefusedError(f'unknown {operation.table} verb "{verb}"')
    if verb.endswith("cas") and (found.modify_index if found else 0) != index:
        doing = "delete" if verb == "delete-cas" else "set"
        raise RefusedError(f"failed to {doing} {label}, index is stale")
    return verb in {"set", "cas"}


def value(body: Body) -> bytes:
    """Decode the value of an operation on a key."""
    try:
        return base64.b64decode(body.text("Value"), validate=True)
    except binascii.Error as error:
        raise RefusedError(f"Failed to parse body: {error}", HTTPStatus.BAD_REQUEST) from error


APPLY: dict[str, Callable[[Transaction, Operation, Surroundings], Results]] = {
    "KV": _key,
    "Node": _node,
    "Service": _service,
    "Check": _check,
}
"""The tables that operations may name."""
