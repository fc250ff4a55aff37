"""The order of a graceful stop, and hurrying it at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mesh.agent.drain import Action, Drain, hurried, plan
from mesh.agent.http import RequestError
from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks

ORDER = list(Action)
MUST = [each for each in ORDER if each not in {Action.SETTLE, Action.AWAIT_CONNECTIONS}]


class Recording:
    """Actions that write down that they were done."""

    def __init__(self) -> None:
        """Nothing is done; connections last until ``idle``."""
        self.done: list[Action] = []
        self.idle = asyncio.Event()

    def drain(self, clock: ManualClock) -> Drain:
        """Return a drain that does these."""
        return Drain({each: self._action(each) for each in ORDER}, clock)

    def _action(self, which: Action) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            self.done.append(which)
            if which is Action.AWAIT_CONNECTIONS:
                await self.idle.wait()

        return act


def test_nobody_new_is_sent_here_before_anything_is_closed() -> None:
    steps = [step.action for step in plan(30)]
    assert steps == ORDER
    assert steps.index(Action.DEREGISTER) < steps.index(Action.FAIL_READINESS)
    assert steps.index(Action.SETTLE) < steps.index(Action.CLOSE_LISTENERS)
    assert steps[-1] is Action.QUIT


@pytest.mark.parametrize("seconds", [0.0, 1.0, 30.0, 600.0])
def test_waiting_takes_no_longer_than_asked(seconds: float) -> None:
    waits = [s.limit for s in plan(seconds) if s.action not in MUST]
    assert sum(waits) == pytest.approx(seconds)


def test_hurrying_at_any_step_drops_the_waiting_and_nothing_else() -> None:
    steps = plan(30)
    for position in range(len(steps) + 1):
        rest = [step.action for step in hurried(steps[position:])]
        assert rest == [each for each in ORDER[position:] if each in MUST]


async def test_it_waits_for_connections_and_then_quits() -> None:
    clock, recording = ManualClock(), Recording()
    async with Tasks("test") as tasks:
        running = tasks.spawn("drain", recording.drain(clock).run(30))
        await clock.sleeping()
        assert recording.done == [Action.DEREGISTER, Action.FAIL_READINESS]
        await clock.advance(2)
        assert recording.done[-1] is Action.AWAIT_CONNECTIONS
        recording.idle.set()
        await running
    assert recording.done == [each for each in ORDER if each is not Action.SETTLE]


@pytest.mark.parametrize("settled", [False, True])
async def test_hurried_while_it_waits(*, settled: bool) -> None:
    clock, recording = ManualClock(), Recording()
    drain = recording.drain(clock)
    async with Tasks("test") as tasks:
        running = tasks.spawn("drain", drain.run(30))
        await clock.sleeping()
        if settled:
            await clock.advance(2)
        drain.hurry()
        await running
    assert [each for each in recording.done if each in MUST] == MUST


async def test_a_step_that_fails_does_not_stop_the_next() -> None:
    done: list[Action] = []

    async def fail() -> None:
        raise RequestError("envoy is gone")

    async def quit_envoy() -> None:
        done.append(Action.QUIT)

    await Drain({**dict.fromkeys(ORDER, fail), Action.QUIT: quit_envoy}, ManualClock()).run(0)
    assert done == [Action.QUIT]
