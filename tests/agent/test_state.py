"""The state directory: private, atomic, one agent at a time."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest

from mesh.agent.errors import StateError
from mesh.agent.state import LOCK, StateDir
from tests.agent.limits import full_disk


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True, mode=0o755)
    with contextlib.closing(StateDir(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_file_is_private_whatever_the_umask(state: StateDir) -> None:
    before = os.umask(0)
    try:
        state.write("secret", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((state.path / "secret").stat().st_mode) == 0o600


def test_a_reader_keeps_the_old_content_and_the_next_has_the_new(state: StateDir) -> None:
    state.write("file", "old" * 1000)
    with (state.path / "file").open() as reader:
        state.write("file", "new")
        assert reader.read() == "old" * 1000
    assert state.read("file") == b"new"
    assert [each.name for each in state.path.iterdir()] == ["file"]


def test_what_a_crash_left_half_written_is_in_nobodys_way(state: StateDir) -> None:
    state.write("file", "whole")
    (state.path / ".file.new").write_text("hal")
    assert state.read("file") == b"whole"
    state.write("file", "whole again")
    assert state.read("file") == b"whole again"


def test_a_write_that_fails_leaves_the_old_file(state: StateDir) -> None:
    state.write("file", "old")
    (state.path / ".file.new").mkdir()
    with pytest.raises(OSError, match=r"file\.new"):
        state.write("file", "new")
    assert state.read("file") == b"old"


def test_a_full_disk_keeps_the_old_file_and_leaves_the_lock(state: StateDir) -> None:
    state.write("file", "old")
    with full_disk():
        with pytest.raises(OSError, match="File too large"):
            state.write("file", "new")
        with state.lock(), pytest.raises(StateError, match="another agent"), state.lock():
            pass
    assert state.read("file") == b"old"
    state.write("file", "new")
    assert state.read("file") == b"new"


def test_what_is_not_there(state: StateDir) -> None:
    assert state.read("nothing") is None
    state.remove("nothing")


def test_the_second_agent_is_told_who_the_first_is(state: StateDir) -> None:
    with state.lock():
        inode = (state.path / LOCK).stat().st_ino
        with (
            contextlib.closing(StateDir(state.path)) as other,
            pytest.raises(StateError, match=f"process {os.getpid()}"),
            other.lock(),
        ):
            pass
    with state.lock():
        assert (state.path / LOCK).stat().st_ino == inode


def test_a_file_in_the_directorys_place_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="--state-dir"):
        StateDir(tmp_path / "file")


def test_a_socket_has_a_short_path_in_a_deep_directory(tmp_path: Path) -> None:
    with contextlib.closing(StateDir(tmp_path / ("d" * 100) / ("e" * 100))) as deep:
        assert len(deep.socket("envoy-a.sock")) < 108
