"""A disk that refuses: the writer hears of it, and memory goes back to the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from mesh.embedded import kv
from mesh.embedded.core import Core, Settings
from mesh.embedded.errors import RefusedError
from mesh.embedded.persistence import Persistence, PersistenceError
from mesh.embedded.records import Pair, Record
from mesh.embedded.tables import Key


class FullDisk(Persistence):
    """Refuses every write while ``full``."""

    full = False

    def write(self, rows: Mapping[tuple[str, Key], Record | None], index: int) -> None:
        """Write, unless the disk is full."""
        if self.full:
            raise PersistenceError("the disk is full")
        super().write(rows, index)


@pytest.fixture
async def disk(tmp_path: Path) -> FullDisk:
    return FullDisk(tmp_path)


@pytest.fixture
async def core(disk: FullDisk) -> AsyncIterator[Core]:
    core = Core(disk, Settings())
    await core.prepare()
    yield core
    await core.close()


async def test_a_refused_write_is_undone(core: Core, disk: FullDisk) -> None:
    await core.write(lambda tx: kv.put(tx, Pair(name="a", value=b"old")))
    index = core.store.index
    disk.full = True

    with pytest.raises(RefusedError, match="the disk is full"):
        await core.write(lambda tx: kv.put(tx, Pair(name="a", value=b"new")))

    pair = core.store.kv.get("a")
    assert pair is not None
    assert pair.value == b"old"
    assert core.store.index > index
    disk.full = False
    await core.write(lambda tx: kv.put(tx, Pair(name="a", value=b"newer")))


async def test_a_write_that_changes_nothing_takes_no_index(core: Core) -> None:
    await core.write(lambda tx: kv.put(tx, Pair(name="a", value=b"x")))
    index = core.store.index
    await core.write(lambda tx: kv.put(tx, Pair(name="a", value=b"x")))
    assert core.store.index == index
