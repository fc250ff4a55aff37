"""Real Envoys that an agent left, and the next agent finds."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from pathlib import Path

from mesh.agent.envoy_process import Role
from mesh.aio.tasks import Tasks
from tests.agent.supervised import BINARY, Place, get, record, serves, supervised
from tests.waiting import until


async def test_another_agent_takes_over_the_envoy_that_is_there(place: Place) -> None:
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
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
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
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
    async with Tasks("first agent") as tasks:
        first = place.supervisor()
        tasks.spawn("supervise", first.run(), forever=True)
        await serves(first, Role.LIVE)
        await record(place, first)
    (left,) = first.processes
    upgraded = tmp_path / "envoy"
    upgraded.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo version: another && exit\nexec {BINARY} "$@"\n'
    )
    upgraded.chmod(0o755)
    answered = 0

    async def call() -> None:
        nonlocal answered
        while left.alive():
            assert await get(place.inbound) == "hello /"
            answered += 1

    async with supervised(dataclasses.replace(place, binary=upgraded)) as second:
        await asyncio.wait_for(call(), 30)
        await serves(second, Role.LIVE)
        assert await get(place.inbound) == "hello /"
    assert answered
