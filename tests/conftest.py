"""How tests share the machine when several workers run them (``pytest --numprocesses``)."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.sharing.turns import Turns

_TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of a run take turns; who runs all tests himself need not."""
    if hasattr(config, "workerinput"):
        config.stash[_TURNS] = Turns(Path(config.option.basetemp).parent)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests in our units."""
    from tests.sharing.schedule import Schedule  # noqa: PLC0415 - workers have no use for it

    return Schedule(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Take a turn before a test begins, its time limit included."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    with turns.taken(alone=item.get_closest_marker("alone") is not None):
        return (yield)
