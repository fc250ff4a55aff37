"""Intentions: one by one as the intentions API shows them, grouped by destination as stored.

They live in ``service-intentions`` entries, one per destination, as in Consul 1.9 and later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Entry
from mesh.embedded.store import Store
from mesh.model.intentions import Intention
from mesh.model.names import WILDCARD

KIND = "service-intentions"

_ACTIONS = frozenset({"allow", "deny"})


def checked_entry(entry: Entry) -> Entry:
    """Return a ``service-intentions`` entry as it is stored, each source filled in.

    Raises:
        RefusedError: the entry or one of its sources says what Consul does not take.

    """
    sources = entry.body.get("Sources") or []
    if not sources and not entry.body.get("JWT"):
        raise RefusedError("At least one source is required.")
    _no_partial_wildcard("Name", entry.name)
    seen: set[tuple[str, str]] = set()
    filled = []
    for place, source in enumerate(sources):
        filled.append(_filled(source, entry.name, f"Sources[{place}]"))
        name = source["Name"]
        if (name, source.get("Peer", "")) in seen:
            raise RefusedError(f'Sources[{place}] defines "{name}" more than once')
        seen.add((name, source.get("Peer", "")))
    filled.sort(key=lambda source: -int(source["Precedence"]))
    return msgspec.structs.replace(entry, body={**entry.body, "Sources": filled})


def every(store: Store) -> list[dict[str, Any]]:
    """Return every intention, by precedence, then destination and source."""
    return _ranked(each for entry in store.entries.by("kind", KIND) for each in _of(entry))


def _ranked(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        found,
        key=lambda each: (-each["Precedence"], each["DestinationName"], each["SourceName"]),
    )


def exact(store: Store, source: str, destination: str) -> dict[str, Any] | None:
    """Return the intention from ``source`` to ``destination``, both taken literally."""
    entry = store.entries.get(KIND, destination)
    found = _of(entry) if entry is not None else iter(())
    return next((each for each in found if _is_ours(each, {source})), None)


def matching(store: Store, side: str, name: str) -> list[dict[str, Any]]:
    """Return the intentions whose ``side`` (Source, Destination) is ``name`` or a wildcard."""
    if side == "Source":
        return [each for each in every(store) if _is_ours(each, {name, WILDCARD})]
    # An entry is named after its destination: there is no need to look at the others.
    entries = (store.entries.get(KIND, each) for each in dict.fromkeys((name, WILDCARD)))
    return _ranked(each for entry in entries if entry is not None for each in _of(entry))


def allowed(store: Store, source: str, destination: str, *, default: bool) -> bool:
    """Return the verdict on a connection.  One that depends on the request is not allowed."""
    for each in matching(store, "Destination", destination):
        if _is_ours(each, {source, WILDCARD}):
            return bool(each.get("Action") == "allow")
    return default


def with_source(entry: Entry | None, destination: str, source: dict[str, Any]) -> Entry:
    """Return the destination's entry with ``source`` added or replaced."""
    empty: dict[str, Any] = {"Kind": KIND, "Name": destination}
    body = entry.body if entry is not None else empty
    others = _without(body, source["Name"])
    changed = Entry(kind=KIND, name=destination, body={**body, "Sources": [*others, source]})
    return checked_entry(changed)


def without_source(entry: Entry, source: str) -> Entry | None:
    """Return the destination's entry without ``source``; None if nothing is left of it."""
    left = _without(entry.body, source)
    if not left and not entry.body.get("JWT"):
        return None
    return msgspec.structs.replace(entry, body={**entry.body, "Sources": left})


def _is_ours(found: Mapping[str, Any], sources: set[str]) -> bool:
    """Whether an intention is about one of ``sources``, and not about a peer's."""
    return found["SourceName"] in sources and not found.get("SourcePeer")


def _without(body: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    sources = body.get("Sources") or ()
    return [each for each in sources if each["Name"] != source or each.get("Peer")]


def _filled(source: dict[str, Any], destination: str, path: str) -> dict[str, Any]:
    name, action = source.get("Name"), source.get("Action")
    permissions = source.get("Permissions")
    if not isinstance(name, str) or not name:
        raise RefusedError(f"{path}.Name is required")
    _no_partial_wildcard(f"{path}.Name", name)
    if permissions:
        if action:
            raise RefusedError(f"{path}.Action must be omitted if Permissions are specified")
        if destination == WILDCARD:
            raise RefusedError(f"{path}.Permissions cannot be specified on wildcarded destinations")
        _check_permissions(permissions, f"{path}.Permissions")
    elif action not in _ACTIONS:
        raise RefusedError(f"{path}.Action must be set to 'allow' or 'deny'")
    if source.get("Type", "consul") != "consul":
        raise RefusedError(f"{path}.Type must be set to 'consul'")
    precedence = Intention(name, destination).precedence
    return {**source, "Precedence": precedence, "Type": "consul"}


def _check_permissions(permissions: object, path: str) -> None:
    if not isinstance(permissions, list):
        raise RefusedError(f"{path} must be a list")
    for place, permission in enumerate(permissions):
        action = permission.get("Action") if isinstance(permission, dict) else None
        if action not in _ACTIONS:
            raise RefusedError(f"{path}[{place}].Action must be set to 'allow' or 'deny'")
        if not permission.get("HTTP") and not permission.get("JWT"):
            raise RefusedError(f"{path}[{place}].HTTP is required")


def _no_partial_wildcard(path: str, name: str) -> None:
    if WILDCARD in name and name != WILDCARD:
        raise RefusedError(f"{path}: wildcard character '*' cannot be used with partial values")


def _of(entry: Entry) -> Iterator[dict[str, Any]]:
    for source in entry.body.get("Sources") or ():
        yield {
            **({"Description": source["Description"]} if source.get("Description") else {}),
            "SourceNS": "default",
            "SourceName": source["Name"],
            **({"SourcePeer": source["Peer"]} if source.get("Peer") else {}),
            "DestinationNS": "default",
            "DestinationName": entry.name,
            "SourceType": "consul",
            **{key: source[key] for key in ("Action", "Permissions") if source.get(key)},
            **({"Meta": entry.body["Meta"]} if entry.body.get("Meta") else {}),
            "Precedence": source["Precedence"],
            "CreateIndex": entry.create_index,
            "ModifyIndex": entry.modify_index,
        }
