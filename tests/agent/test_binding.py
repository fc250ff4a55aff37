"""A state directory is one machine's and one instance's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.binding import BINDING, bind, default_instance, read
from mesh.agent.errors import ForeignStateError, StateError
from mesh.agent.identity_files import ABOUT
from mesh.agent.machine import Machine
from mesh.agent.state import StateDir
from tests.agent.limits import full_disk

HERE = Machine("id", "", frozenset({"02:00:00:00:00:01"}))
COPY = Machine("id", "", frozenset({"02:00:00:00:00:09"}))


def test_the_instance_stays_what_it_was_at_first(state: StateDir) -> None:
    first = bind(state, HERE, "web")
    assert first.startswith("web-")
    assert first.endswith(HERE.digest())
    more = Machine("id", "firmware", HERE.interfaces | {"02:00:00:00:00:02"})
    assert bind(state, more, "web") == first
    assert bind(state, more, "web") == first


def test_the_record_follows_the_machine(state: StateDir) -> None:
    first = bind(state, HERE, "web")
    second = frozenset({"02:00:00:00:00:02"})
    bind(state, Machine("id", "", HERE.interfaces | second), "web")
    assert bind(state, Machine("id", "", second), "web") == first
    found = read(state)
    assert found is not None
    assert found.machine.interfaces == second


def test_a_copy_is_refused_and_told_what_to_do(state: StateDir) -> None:
    bind(state, HERE, "web")
    before = state.read(BINDING)
    with pytest.raises(ForeignStateError, match="made on another machine") as refused:
        bind(state, COPY, "web")
    assert "mesh vm join" in refused.value.remedy
    assert "mesh token create --service web" in refused.value.remedy
    assert state.read(BINDING) == before


def test_what_the_settings_say_stands_over_what_is_written_down(state: StateDir) -> None:
    bind(state, HERE, "web")
    assert bind(state, HERE, "web", "web-1") == "web-1"
    assert bind(state, HERE, "web") == "web-1"


def test_another_service_is_another_instance(state: StateDir) -> None:
    bind(state, HERE, "web", "web-1")
    assert bind(state, HERE, "api").startswith("api-")


def test_state_of_before_keeps_the_id_that_it_is_registered_with(state: StateDir) -> None:
    state.write(ABOUT, "{}")
    assert bind(state, HERE, "web") == default_instance("web", Machine())


def test_a_copy_with_its_sources_name_is_another_instance() -> None:
    both = {default_instance("web", each, "vm1.example") for each in (HERE, COPY)}
    assert len(both) == 2
    assert all(each.startswith("web-vm1-") for each in both)
    assert default_instance("web", Machine(), "vm1.example") == "web-vm1"
    assert len(default_instance("w" * 63, HERE, "h" * 63)) == 100


def test_a_damaged_record_is_not_guessed_at(state: StateDir) -> None:
    state.write(BINDING, '{"machine"')
    with pytest.raises(StateError, match="cannot be read"):
        bind(state, HERE, "web")


def test_a_full_disk_keeps_a_bound_proxy_from_nothing(tmp_path: Path, state: StateDir) -> None:
    first = bind(state, HERE, "web")
    more = Machine("id", "", HERE.interfaces | {"02:00:00:00:00:02"})
    with full_disk():
        assert bind(state, more, "web") == first
        fresh = StateDir(tmp_path / "fresh")
        with pytest.raises(StateError, match="cannot be written"):
            bind(fresh, HERE, "web")
        fresh.close()


def test_a_full_disk_keeps_a_proxy_of_before_bindings_from_nothing(state: StateDir) -> None:
    state.write(ABOUT, "{}")
    with full_disk():
        assert bind(state, HERE, "web") == default_instance("web", Machine())
    assert read(state) is None
    assert bind(state, HERE, "web") == default_instance("web", Machine())
    assert read(state) is not None
