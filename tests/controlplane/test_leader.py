"""Exactly one leads; when it cannot be sure of that, it stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.controlplane.leader import KEY, Leader
from tests.realconsul import RealConsul

PATIENCE = 20.0


class Duty:
    """A duty that notes who runs it, and what was heard of leadership."""

    def __init__(self) -> None:
        """Nobody runs it yet."""
        self.running = 0
        self.most = 0
        self.changed = asyncio.Condition()
        self.leading: list[bool] = []

    async def run(self) -> None:
        """Run until cancelled."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self._notify()
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                # Also polled, for a duty that is cancelled cannot notify.
                try:
                    async with asyncio.timeout(0.02), self.changed:
                        await self.changed.wait()
                except TimeoutError:
                    continue

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def leader(self, consul: ConsulClient, name: str, *, ttl: float = 10.0) -> Leader:
        """Return a candidate that has this duty."""
        return Leader(
            consul,
            name,
            {"work": self.run},
            on_change=self.leading.append,
            ttl=ttl,
            lock_delay=0.0,
        )


async def test_one_of_two_leads_and_hands_over_when_it_goes(consul: ConsulClient) -> None:
    duty = Duty()
    async with Tasks() as tasks:
        campaigns = [tasks.spawn(name, duty.leader(consul, name).run()) for name in ("one", "two")]
        await duty.until(lambda: duty.running == 1)
        entry = (await consul.kv_get(KEY)).value
        assert entry is not None
        first = ["one", "two"].index(entry.data.decode())
        campaigns[first].cancel()
        await asyncio.wait({campaigns[first]})
        await duty.until(lambda: duty.leading == [True, False, True])
        entry = (await consul.kv_get(KEY)).value
        assert entry is not None
        assert entry.data.decode() == ["two", "one"][first]
    assert duty.most == 1


async def test_a_stolen_lock_ends_the_duties(consul: ConsulClient) -> None:
    duty = Duty()
    async with Tasks() as tasks:
        campaign = tasks.spawn("one", duty.leader(consul, "one").run())
        await duty.until(lambda: duty.running == 1)
        entry = (await consul.kv_get(KEY)).value
        assert entry is not None
        await consul.session_destroy(entry.session)
        await duty.until(lambda: duty.leading[:2] == [True, False])
        await duty.until(lambda: duty.leading == [True, False, True])
        campaign.cancel()
    assert duty.most == 1


async def test_a_duty_that_fails_costs_leadership_and_not_the_zone(
    consul: ConsulClient, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bool] = []
    turns = 0
    again = asyncio.Event()

    async def fail_once() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise RuntimeError("a defect")
        again.set()
        await asyncio.Event().wait()

    leader = Leader(consul, "one", {"work": fail_once}, on_change=heard.append, lock_delay=0.0)
    async with Tasks() as tasks:
        campaign = tasks.spawn("one", leader.run())
        async with asyncio.timeout(PATIENCE):
            await again.wait()
        campaign.cancel()
    assert heard[:3] == [True, False, True]


async def test_when_consul_freezes_the_duties_end_before_the_session_could(
    tmp_path: Path,
) -> None:
    async with RealConsul(tmp_path) as server:
        address = ConsulAddress(server.url)
        async with ConsulClient(address) as consul, Tasks() as tasks:
            duty = Duty()
            campaign = tasks.spawn("one", duty.leader(consul, "one").run())
            await duty.until(lambda: duty.running == 1)
            frozen = asyncio.get_running_loop().time()
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await duty.until(lambda: duty.running == 0)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            # Consul ends a session of 10 s no sooner than 10 s after its last renewal.
            assert asyncio.get_running_loop().time() - frozen < 10
            campaign.cancel()
