"""Real Envoys that an agent left, and the next agent finds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from mesh.agent.envoy_process import PLACES, EnvoyProcess, Role
from mesh.agent.http import RequestError
from mesh.agent.supervisor import Supervisor
from mesh.aio.tasks import Tasks
from mesh.envoy.resource import LISTENER
from tests.agent import discovery
from tests.agent.supervised import BINARY, Place, get, record, serves, supervised
from tests.waiting import until


@contextlib.asynccontextmanager
async def first_agent(place: Place) -> AsyncIterator[Supervisor]:
    """Run a supervisor that leaves its Envoys running at the end, as an agent that is killed."""
    supervisor = place.supervisor()
    async with Tasks("first agent") as tasks:
        tasks.spawn("supervise", supervisor.run(), forever=True)
        yield supervisor


async def test_another_agent_takes_over_the_envoy_that_is_there(place: Place) -> None:
    async with first_agent(place) as first:
        await serves(first, Role.LIVE)
    (left,) = first.processes
    assert left.alive()
    async with supervised(place) as second:
        await serves(second, Role.LIVE)
        (process,) = second.processes
        assert (process.pid, process.adopted) == (left.pid, True)
        process.signal(signal.SIGKILL)
        await until(lambda: second.restarts == 1)
        await serves(second, Role.LIVE)
        left.exit_code()


async def test_changed_settings_replace_the_envoy_that_is_there(place: Place) -> None:
    async with first_agent(place) as first:
        await serves(first, Role.LIVE)
    (left,) = first.processes
    changed = {**place.bootstrap, "node": {**place.bootstrap["node"], "id": "web/other"}}
    async with supervised(dataclasses.replace(place, bootstrap=changed)) as second:
        await serves(second, Role.LIVE)
        await until(lambda: not left.alive())
        assert await get(place.inbound) == "hello /"


async def test_another_build_relieves_the_envoy_that_is_there_and_loses_no_request(
    place: Place, tmp_path: Path
) -> None:
    async with first_agent(place) as first:
        await serves(first, Role.LIVE)
        await record(place, first)
    (left,) = first.processes
    answered = 0

    async def call() -> None:
        nonlocal answered
        while left.alive():
            assert await get(place.inbound) == "hello /"
            answered += 1

    async with supervised(upgraded(place, tmp_path)) as second:
        await asyncio.wait_for(call(), 30)
        await serves(second, Role.LIVE)
        assert await get(place.inbound) == "hello /"
    assert answered


def upgraded(place: Place, directory: Path) -> Place:
    """Return the proxy with another build of Envoy."""
    binary = directory / "envoy"
    binary.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo version: another && exit\nexec {BINARY} "$@"\n'
    )
    binary.chmod(0o755)
    return dataclasses.replace(place, binary=binary)


async def recorded(place: Place) -> Place:
    """Return the proxy with a last known good configuration, and a zone that says nothing yet."""
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
    discovery.publish(place.state, "nothing", [], LISTENER)
    silent = {"lds_config": discovery.source("nothing")}
    return dataclasses.replace(place, bootstrap={**place.bootstrap, "dynamic_resources": silent})


async def test_with_the_zone_away_another_build_keeps_the_envoy_that_serves(
    place: Place, tmp_path: Path
) -> None:
    place = await recorded(place)
    async with first_agent(place) as first:
        await serves(first, Role.FALLBACK)
    waits, works = first.processes
    # The one that waits for the zone is the one that is found first.
    assert (waits.place, works.place) == PLACES
    place.zone.on = False
    async with supervised(upgraded(place, tmp_path)) as second:
        await until(lambda: not waits.alive(), what="the one that waited is gone")
        await serves(second, Role.FALLBACK)
        assert [each.pid for each in second.processes] == [works.pid]
        assert await get(place.inbound) == "hello /"


async def test_with_the_zone_away_nobody_waits_for_an_envoy_of_another_build(
    place: Place, tmp_path: Path
) -> None:
    place = await recorded(place)
    async with first_agent(place) as first:
        await until(lambda: bool(first.processes))
        (waits,) = first.processes
        await until(lambda: answers(waits))
    place.zone.on = False
    async with supervised(upgraded(place, tmp_path)) as second:
        await serves(second, Role.FALLBACK)
        await until(lambda: not waits.alive(), what="the one that waited is gone")
        assert await get(place.inbound) == "hello /"


async def test_an_envoy_that_was_told_to_end_is_relieved(place: Place) -> None:
    async with first_agent(place) as first:
        await serves(first, Role.LIVE)
    (left,) = first.processes
    # As far as its agent came with the drain before it was killed.
    await left.admin.fail_health()
    await left.admin.close_listeners(inbound_only=True)
    async with supervised(place) as second:
        await serves(second, Role.LIVE)
        await until(lambda: not left.alive(), what="it has ended")
        assert await get(place.inbound) == "hello /"
        assert second.restarts == 0


async def answers(process: EnvoyProcess) -> bool:
    """Whether an Envoy has come so far that it is taken over."""
    try:
        await process.admin.condition()
    except RequestError:
        return False
    return True
