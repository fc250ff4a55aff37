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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let those tests of a unit that run alone follow each other, so that they wait once."""
    if _TURNS in config.stash:
        items.sort(key=_is_alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Have a turn from before the test begins, its time limit included."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    alone = _is_alone(item)
    turns.take(alone=alone)
    try:
        return (yield)
    finally:
        if not alone or nextitem is None or not _is_alone(nextitem):
            turns.leave()


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None
