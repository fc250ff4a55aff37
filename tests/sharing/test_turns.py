"""Who is alone is alone, and comes soon."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.sharing.turns import Turns


class Worker:
    """Takes one turn, in a thread of its own, until it is told to end."""

    def __init__(self, directory: Path, *, alone: bool) -> None:
        """Begin to wait for it."""
        self.began = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(Turns(directory), alone))
        self._thread.start()

    def end(self) -> None:
        """End the turn, and wait until it has."""
        self._end.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def waits(self) -> bool:
        """Tell whether it has no turn, and gets none for a moment."""
        return not self.began.wait(0.1)

    def _work(self, turns: Turns, alone: bool) -> None:  # noqa: FBT001 - an argument of a thread
        turns.take(alone=alone)
        # As before a second test that is alone.
        turns.take(alone=alone)
        self.began.set()
        assert self._end.wait(10)
        turns.leave()


def test_many_go_beside_each_other(tmp_path: Path) -> None:
    workers = [Worker(tmp_path, alone=False) for _ in range(3)]
    assert all(each.began.wait(10) for each in workers)
    for each in workers:
        each.end()


@pytest.mark.parametrize("second", [True, False])
def test_who_is_alone_is_alone(tmp_path: Path, *, second: bool) -> None:
    first = Worker(tmp_path, alone=True)
    assert first.began.wait(10)
    other = Worker(tmp_path, alone=second)
    assert other.waits()
    first.end()
    assert other.began.wait(10)
    other.end()


def test_nobody_passes_who_waits_to_be_alone(tmp_path: Path) -> None:
    running = Worker(tmp_path, alone=False)
    assert running.began.wait(10)
    alone = Worker(tmp_path, alone=True)
    assert alone.waits()
    late = Worker(tmp_path, alone=False)
    assert late.waits()
    running.end()
    assert alone.began.wait(10)
    assert late.waits()
    alone.end()
    assert late.began.wait(10)
    late.end()
