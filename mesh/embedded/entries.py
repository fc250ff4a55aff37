"""Configuration entries: reading, checking and writing them within a transaction.

What is checked here is the shape that Consul itself insists on.  What an entry means to the
mesh, and whether the mesh can do it, is read by the mesh from what is stored.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from mesh.embedded import chains, entry_fields, intentions
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Entry
from mesh.embedded.store import CONFIG, INTENTIONS, Transaction

_INDEXES = ("CreateIndex", "ModifyIndex")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "service-defaults": {"MeshGateway": {}, "Expose": {}},
    "proxy-defaults": {"MeshGateway": {}, "Expose": {}},
}
_MISSING_NAME = {"service-defaults": "serviceName is required"}
_LISTS = {
    "service-intentions": "Sources",
    "service-router": "Routes",
    "service-splitter": "Splits",
    "ingress-gateway": "Listeners",
    "terminating-gateway": "Services",
    "exported-services": "Services",
    "jwt-provider": "Locations",
}


def read(raw: object) -> Entry:
    """Read the body of a write.

    Raises:
        RefusedError: the kind or a key is unknown (400), or the shape is not the kind's.

    """
    if not isinstance(raw, dict):
        raise _undecodable("expected an object")
    kind = next((value for key, value in raw.items() if key in {"Kind", "kind"}), None)
    if kind is None:
        raise _undecodable("Payload does not contain a kind/Kind key at the top level")
    if kind not in entry_fields.SCHEMAS:
        raise _undecodable(f"invalid config entry kind: {kind}")
    body, unknown = entry_fields.canonical(kind, raw)
    if unknown:
        refuse_keys(unknown)
    for index in _INDEXES:
        body.pop(index, None)
    name = _name(kind, body)
    items = body.get(_LISTS.get(kind, ""), [])
    if items is not None and not (
        isinstance(items, list) and all(isinstance(item, dict) for item in items)
    ):
        raise _undecodable(f"{_LISTS[kind]} must be a list of objects")
    entry = Entry(kind=kind, name=name, body={**_DEFAULTS.get(kind, {}), **body, "Name": name})
    chains.check_shape(entry)
    if kind == "service-intentions":
        return intentions.checked_entry(entry)
    return entry


def put(tx: Transaction, entry: Entry) -> Entry:
    """Write an entry, unless what is stored would no longer agree with itself."""
    written = tx.put(tx.store.entries, entry)
    _touch(tx, entry.kind)
    chains.check_protocols(tx)
    return written


def put_if(tx: Transaction, entry: Entry, index: int) -> bool:
    """Write if the entry was last changed at ``index``, where 0 means that it is not there."""
    former = tx.store.entries.get(*entry.key)
    if (former.modify_index if former else 0) != index:
        return False
    put(tx, entry)
    return True


def delete(tx: Transaction, kind: str, name: str) -> None:
    """Delete an entry, if it is there and no other rests on it."""
    if tx.delete(tx.store.entries, kind, name) is not None:
        _touch(tx, kind)
        chains.check_protocols(tx)


def known_kind(kind: str, status: int = 500) -> str:
    """Return ``kind`` if it is one."""
    if kind not in entry_fields.SCHEMAS:
        raise RefusedError(f"invalid config entry kind: {kind}", status)
    return kind


def refuse_keys(unknown: list[str]) -> None:
    """Refuse keys that a document cannot have, all at once."""
    plural = "" if len(unknown) == 1 else "s"
    lines = "".join(f'\t* invalid config key "{key}"\n' for key in unknown)
    raise _undecodable(f"{len(unknown)} error{plural} occurred:\n{lines}\n")


def _name(kind: str, body: dict[str, Any]) -> str:
    if kind in {"proxy-defaults", "mesh"}:
        return {"proxy-defaults": "global", "mesh": "mesh"}[kind]
    name = body.get("Name", "")
    if not isinstance(name, str) or not name:
        raise RefusedError(_MISSING_NAME.get(kind, "Name is required"))
    return name


def _touch(tx: Transaction, kind: str) -> None:
    tx.touch(CONFIG)
    if kind == "service-intentions":
        tx.touch(INTENTIONS)


def _undecodable(reason: str) -> RefusedError:
    return RefusedError(f"Bad request: Request decoding failed: {reason}", HTTPStatus.BAD_REQUEST)
