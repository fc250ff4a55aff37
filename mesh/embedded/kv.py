"""The key-value store within a transaction: compare-and-set, locks, deletion of trees."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Pair
from mesh.embedded.store import Transaction


def write(tx: Transaction, pair: Pair) -> Pair:
    """Put ``pair`` as it stands, lock included."""
    written = tx.put(tx.store.kv, pair)
    if written.modify_index == tx.index:
        tx.touch_key(pair.name)
    return written


def put(tx: Transaction, pair: Pair) -> Pair:
    """Put a value and its flags; who holds the key stays as it is, its lock count starts anew."""
    former = tx.store.kv.get(pair.name)
    session = former.session if former else ""
    return write(tx, msgspec.structs.replace(pair, session=session, lock_index=pair.lock_index))


def put_if(tx: Transaction, pair: Pair, index: int) -> Pair | None:
    """Put if the key was last changed at ``index``, where 0 means that it does not exist."""
    former = tx.store.kv.get(pair.name)
    if (former.modify_index if former else 0) != index:
        return None
    return put(tx, pair)


def lock(tx: Transaction, pair: Pair, session_id: str) -> Pair | None:
    """Put and hold the key with a session, unless another session holds it."""
    if tx.store.sessions.get(session_id) is None:
        raise RefusedError(f'invalid session "{session_id}"')
    former = tx.store.kv.get(pair.name)
    if former is not None and former.session not in {"", session_id}:
        return None
    held_already = former is not None and former.session == session_id
    count = (former.lock_index if former else 0) + (not held_already)
    return write(tx, msgspec.structs.replace(pair, session=session_id, lock_index=count))


def unlock(tx: Transaction, pair: Pair, session_id: str) -> Pair | None:
    """Put and let the key go, if the session holds it."""
    former = tx.store.kv.get(pair.name)
    if former is None or former.session != session_id:
        return None
    return write(tx, msgspec.structs.replace(pair, session="", lock_index=former.lock_index))


def delete(tx: Transaction, name: str) -> None:
    """Delete a key, if it exists."""
    if tx.delete(tx.store.kv, name) is not None:
        tx.touch_key(name)


def delete_if(tx: Transaction, name: str, index: int) -> bool:
    """Delete a key if it was last changed at ``index``; one that is absent is as good as gone."""
    former = tx.store.kv.get(name)
    if former is None:
        return True
    if former.modify_index != index:
        return False
    delete(tx, name)
    return True


def delete_tree(tx: Transaction, prefix: str) -> None:
    """Delete every key that starts with ``prefix``."""
    for pair in list(tx.store.kv.scan(prefix)):
        delete(tx, pair.name)


def fold(names: Iterable[str], prefix: str, separator: str) -> list[str]:
    """Return ``names`` cut after the first ``separator`` beyond ``prefix``, each once."""
    if not separator:
        return list(names)
    found: dict[str, None] = {}
    for name in names:
        end = name.find(separator, len(prefix))
        found[name if end < 0 else name[: end + len(separator)]] = None
    return list(found)
