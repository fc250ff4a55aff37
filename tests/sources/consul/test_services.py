"""Which services are followed, and what becomes of those that nobody needs any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import Answer, HealthEntry
from mesh.clients.consul.errors import Call
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.loop import Surroundings
from mesh.sources.consul.problems import Problems
from mesh.sources.consul.services import Services
from mesh.sources.consul.settings import WatchSettings
from mesh.world.changes import Change, InstancesChanged, InstancesForgotten


class SlowConsul:
    """Answers about instances when told to, and never about checks."""

    def __init__(self) -> None:
        """Answer nothing yet."""
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def health_connect(self, service: str, **_: Any) -> Answer[tuple[HealthEntry, ...]]:
        """Answer that there is no instance."""
        self.asked.append(service)
        await self.answers.wait()
        return Answer(Call("GET", "/", ""), b"[]", 1, lambda _: ())

    async def health_state(self, *_: Any, **__: Any) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()


async def never() -> bool | None:
    return None


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("the condition did not come true")


async def test_what_is_let_go_of_while_it_is_fetched_is_forgotten() -> None:
    """Else it would be taken for known when somebody needs it again, however old."""
    consul, changes = SlowConsul(), list[Change]()
    services = Services(
        consul,  # type: ignore[arg-type]  # the two calls that are made
        Knowledge(changes.append, Problems()),
        Surroundings(ManualClock(), WatchSettings(max_watches=0, sweepers=1)),
        never,
        lambda _: None,
    )
    async with Tasks() as tasks:
        services.start(tasks)
        services.need(frozenset({"api"}))
        await until(lambda: consul.asked)
        services.need(frozenset())
        consul.answers.set()
        await until(lambda: changes[-1:] == [InstancesForgotten("api")])
        assert changes[:-1] == [InstancesChanged("api", ())]
        services.need(frozenset({"api"}))
        await until(lambda: len(consul.asked) == 2)
