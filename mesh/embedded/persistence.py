"""The registry's rows on disk, in one SQLite file.

Write-ahead log with a sync at every commit: what was committed survives the process and the
machine.  The file is locked for as long as it is open, so that two registries never write
the same state.  (https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from mesh.embedded.records import Record
from mesh.embedded.store import Store
from mesh.embedded.tables import Key

FILE = "registry.db"

_FORMAT = 1
# A reader may have seen the index of a write that a crash kept from the disk.  Such an index
# must not come again with another meaning; no batch is as long as this.
_NEVER_WRITTEN = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
  name TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
"""
_PUT = "INSERT OR REPLACE INTO rows (name, key, value) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM rows WHERE name = ? AND key = ?"
_INDEX = "INSERT OR REPLACE INTO last (one, value) VALUES (1, ?)"


class PersistenceError(Exception):
    """The state cannot be read or written; the message names the file and what to do."""


class Persistence:
    """The open file.  Used from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        """Open or create the file below ``directory``.

        Raises:
            PersistenceError: it cannot be opened, is in use, or is of a newer format.

        """
        self.path = directory / FILE
        self._encoder = msgspec.json.Encoder()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
            self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            raise PersistenceError(
                f"cannot open the registry's state {self.path}: {error}. "
                "Is another registry running on this directory, or may this user not write there?"
            ) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=0
        )
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._check_format(connection)
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_format(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _FORMAT:
            raise PersistenceError(
                f"{self.path} has format {version}, this program knows {_FORMAT}: "
                "use the newer program, or another data directory"
            )

    def load(self) -> Store:
        """Read the whole state."""
        try:
            found = self._connection.execute("SELECT value FROM last").fetchone()
            store = Store(found[0] + _NEVER_WRITTEN if found else 1)
            store.load(self._rows(store))
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise PersistenceError(
                f"cannot read the registry's state {self.path}: {error}. "
                "Restore the file from a backup, or remove it to begin with an empty registry"
            ) from error
        return store

    def _rows(self, store: Store) -> Iterator[tuple[str, Record]]:
        decoders = {table.name: msgspec.json.Decoder(table.kind) for table in store.tables}
        for name, value in self._connection.execute("SELECT name, value FROM rows"):
            yield name, decoders[name].decode(value)

    def write(self, rows: Mapping[tuple[str, Key], Record | None], index: int) -> None:
        """Commit ``rows`` (None deletes) and the index of the last write, all or nothing.

        Raises:
            PersistenceError: the disk refused; nothing was written.

        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._write(rows, index)
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise PersistenceError(
                f"cannot write the registry's state {self.path}: {error}. "
                "Is the disk full or read-only?"
            ) from error

    def _write(self, rows: Mapping[tuple[str, Key], Record | None], index: int) -> None:
        puts, deletes = [], []
        for (name, key), record in rows.items():
            place = (name, "\0".join(key))
            if record is None:
                deletes.append(place)
            else:
                puts.append((*place, self._encoder.encode(record)))
        self._connection.executemany(_DELETE, deletes)
        self._connection.executemany(_PUT, puts)
        self._connection.execute(_INDEX, (index,))

    def close(self) -> None:
        """Close the file and let others have it."""
        self._connection.close()
