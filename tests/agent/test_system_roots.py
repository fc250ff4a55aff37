"""Where the operating system's roots are found, and what stands in for them."""

from __future__ import annotations

from pathlib import Path

from mesh.agent import system_roots
from mesh.agent.state import StateDir
from mesh.envoy import files


def test_the_first_that_is_there_is_linked_and_a_later_one_replaces_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    two.write_text("two")
    assert system_roots.link(state, (one, two)) == two
    assert (state.path / files.SYSTEM_ROOTS).read_text() == "two"
    one.write_text("one")
    assert system_roots.link(state, (one, two)) == one
    assert (state.path / files.SYSTEM_ROOTS).read_text() == "one"
    state.close()


def test_without_any_only_the_mesh_is_believed(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.write(files.BUNDLE_FILE, "the mesh")
    system_roots.link(state, (tmp_path / "none.pem",))
    assert (state.path / files.SYSTEM_ROOTS).read_text() == "the mesh"
    state.close()
