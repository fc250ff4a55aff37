"""In-memory tables of immutable records, with secondary indexes.

A table knows nothing of transactions: :mod:`mesh.embedded.store` writes, and undoes by
writing the former record back, so that the indexes always agree with the rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

Key = tuple[str, ...]


class Keyed(Protocol):
    """A record that knows its place."""

    @property
    def key(self) -> Key:
        """Where the record stands in its table."""
        ...


R = TypeVar("R", bound=Keyed)


class Index(Generic[R]):
    """Finds records by something other than their key."""

    def __init__(self, values: Callable[[R], Iterable[str]]) -> None:
        """``values`` names every value under which a record is to be found."""
        self.values = values
        self.found: dict[str, set[Key]] = {}

    def add(self, record: R) -> None:
        """Enter ``record``."""
        for value in self.values(record):
            self.found.setdefault(value, set()).add(record.key)

    def remove(self, record: R) -> None:
        """Take ``record`` out, and the value with it if it was the last."""
        for value in self.values(record):
            keys = self.found[value]
            keys.discard(record.key)
            if not keys:
                del self.found[value]


class Table(Generic[R]):
    """Records by key, iterated in no particular order unless asked through an index."""

    def __init__(
        self, name: str, kind: type[R], /, **indexes: Callable[[R], Iterable[str]]
    ) -> None:
        """``kind`` is the type of the records, ``indexes`` what else they are found by."""
        self.name = name
        self.kind = kind
        self.rows: dict[Key, R] = {}
        self.indexes = {name: Index(values) for name, values in indexes.items()}

    def __len__(self) -> int:
        """Count the records."""
        return len(self.rows)

    def get(self, *key: str) -> R | None:
        """Return the record at ``key``."""
        return self.rows.get(key)

    def all(self) -> list[R]:
        """Return every record, by key."""
        return [self.rows[key] for key in sorted(self.rows)]

    def by(self, index: str, value: str) -> list[R]:
        """Return the records that ``index`` has under ``value``, by key."""
        return [self.rows[key] for key in sorted(self.indexes[index].found.get(value, ()))]

    def values(self, index: str) -> list[str]:
        """Return every value that ``index`` knows, sorted."""
        return sorted(self.indexes[index].found)

    def put(self, record: R) -> R | None:
        """Write ``record`` and return the one it replaced."""
        former = self.rows.get(record.key)
        for index in self.indexes.values():
            if former is not None:
                index.remove(former)
            index.add(record)
        self.rows[record.key] = record
        return former

    def delete(self, key: Key) -> R | None:
        """Take the record at ``key`` out and return it."""
        former = self.rows.pop(key, None)
        if former is not None:
            for index in self.indexes.values():
                index.remove(former)
        return former


class SortedTable(Table[R]):
    """A table keyed by one name, whose names can be listed by prefix."""

    def __init__(
        self, name: str, kind: type[R], /, **indexes: Callable[[R], Iterable[str]]
    ) -> None:
        """Begin empty."""
        super().__init__(name, kind, **indexes)
        self._names: list[str] = []

    def put(self, record: R) -> R | None:
        """Write ``record`` and return the one it replaced."""
        former = super().put(record)
        if former is None:
            insort(self._names, record.key[0])
        return former

    def delete(self, key: Key) -> R | None:
        """Take the record at ``key`` out and return it."""
        former = super().delete(key)
        if former is not None:
            del self._names[bisect_left(self._names, key[0])]
        return former

    def scan(self, prefix: str) -> Iterator[R]:
        """Yield the records whose name starts with ``prefix``, in order."""
        for place in range(bisect_left(self._names, prefix), len(self._names)):
            name = self._names[place]
            if not name.startswith(prefix):
                return
            yield self.rows[(name,)]
