"""How many processes certificates take, when they are renewed, and what a bad disk does to them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from mesh.agent.state import StateDir
from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.model.certificates import CertificateSource, Keep
from tests.agent.certificates.fakevault import FakeVault
from tests.agent.certificates.keeping import keeper
from tests.waiting import until

SHOP = CertificateSource(Keep.KV, "secret", "shop")
SIGNED = CertificateSource(Keep.PKI, "pki", "edge", ("shop.test",))


def children() -> int:
    """Return how many processes this one has started that have not ended."""
    return sum(
        len((task / "children").read_text().split())
        for task in Path(f"/proc/{os.getpid()}/task").iterdir()
    )


async def test_many_certificates_take_two_processes_at_a_time(
    vault: FakeVault, state: StateDir, clock: ManualClock
) -> None:
    sources = [
        CertificateSource(Keep.PKI, "pki", "edge", (f"{number}.test",)) for number in range(6)
    ]
    before, most = children(), 0

    async def counted() -> bool:
        nonlocal most
        most = max(most, children() - before)
        return False

    async with keeper(vault.settings, state, clock) as found, Tasks("counting") as tasks:
        counting = tasks.spawn("count", until(counted, within=100))
        await asyncio.gather(*(found.held(source) for source in sources))
        counting.cancel()
    assert most == 2


async def test_a_secret_that_is_as_it_was_takes_no_process(
    vault: FakeVault, state: StateDir, clock: ManualClock
) -> None:
    vault.keep("shop", *vault.leaf("shop.test"))
    before, seen = children(), list[int]()
    vault.watch = lambda _: seen.append(children() - before)
    async with keeper(vault.settings, state, clock) as found:
        await found.held(SHOP)
        path = "secret/data/shop"
        await until(lambda: vault.asked[path] == 1)
        await clock.sleeping(1)
        await clock.advance(70)
        await until(lambda: vault.asked[path] == 2)
    assert set(seen) == {0}
