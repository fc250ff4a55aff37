"""Ending without cutting anybody off: the order of a graceful stop, and carrying it out.

The order is the point, and every prefix of it is safe.  First nobody new is sent here (registry,
readiness), then what was already on its way is let in, then the inbound listeners close, then the
connections end, and only then does Envoy.  Outbound listeners stay open until the end: a request
that is being finished may still have to ask somebody.

:func:`plan` and :func:`hurried` are pure; :class:`Drain` executes, and can be hurried while it
does (a second SIGTERM).
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh.agent.http import RequestError
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks

logger = logging.getLogger(__name__)

_SETTLE_SHARE: Final = 0.1
_LONGEST_SETTLE: Final = 2.0


class Action(enum.StrEnum):
    """What a step of the plan does."""

    DEREGISTER = "deregister"
    FAIL_READINESS = "fail readiness"
    SETTLE = "let callers notice"
    CLOSE_LISTENERS = "close the inbound listeners"
    AWAIT_CONNECTIONS = "wait for connections to end"
    QUIT = "end envoy"


_WAITS: Final = frozenset({Action.SETTLE, Action.AWAIT_CONNECTIONS})


@dataclass(frozen=True, slots=True)
class Step:
    """One action, given up after ``limit`` seconds."""

    action: Action
    limit: float


def plan(seconds: float) -> tuple[Step, ...]:
    """Return the steps of a stop that waits for connections, ``seconds`` in all."""
    settle = min(_LONGEST_SETTLE, seconds * _SETTLE_SHARE)
    return (
        Step(Action.DEREGISTER, 5.0),
        Step(Action.FAIL_READINESS, 2.0),
        Step(Action.SETTLE, settle),
        Step(Action.CLOSE_LISTENERS, 2.0),
        Step(Action.AWAIT_CONNECTIONS, max(0.0, seconds - settle)),
        Step(Action.QUIT, 10.0),
    )


def hurried(rest: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return what must still be done when nobody wants to wait: all but the waiting."""
    return tuple(step for step in rest if step.action not in _WAITS)


class Drain:
    """Executes the plan with the given actions."""

    def __init__(
        self, actions: Mapping[Action, Callable[[], Awaitable[None]]], clock: Clock
    ) -> None:
        """``actions`` has one for each :class:`Action` but ``SETTLE``, which is only time."""
        self._actions = actions
        self._clock = clock
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Wait for nobody any longer."""
        self._hurry.set()

    async def run(self, seconds: float) -> None:
        """Carry out the whole plan.  A step that fails does not stop the next."""
        rest = plan(seconds)
        while rest:
            step, rest = rest[0], rest[1:]
            if self._hurry.is_set() and step.action in _WAITS:
                continue
            logger.info("draining", extra={"step": step.action.value})
            try:
                async with asyncio.timeout(step.limit):
                    await self._do(step)
            except TimeoutError:
                if step.action is not Action.SETTLE:
                    logger.warning("drain step took too long", extra={"step": step.action.value})
            except RequestError as error:
                logger.warning(
                    "drain step failed", extra={"step": step.action.value, "reason": str(error)}
                )
            if self._hurry.is_set():
                rest = hurried(rest)

    async def _do(self, step: Step) -> None:
        if step.action not in _WAITS:
            await self._actions[step.action]()
            return
        async with Tasks("drain step") as tasks:
            waits: set[asyncio.Task[bool]] = {tasks.spawn("hurry", self._hurried())}
            if step.action is Action.SETTLE:
                waits.add(tasks.spawn("settle", self._settle(step.limit)))
            else:
                waits.add(tasks.spawn("wait", self._finish(self._actions[step.action])))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    async def _hurried(self) -> bool:
        return bool(await self._hurry.wait())

    async def _settle(self, seconds: float) -> bool:
        await self._clock.sleep(seconds)
        return True

    @staticmethod
    async def _finish(action: Callable[[], Awaitable[None]]) -> bool:
        await action()
        return True
