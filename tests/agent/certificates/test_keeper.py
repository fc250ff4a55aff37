"""How many processes certificates take, when they are renewed, and what a bad disk does to them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.agent.certificates.copies import file_of
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
        CertificateSource(Keep.PKI, "pki", "edge", (f"{number}.test",)) for number in range(4)
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
        await found.rests()
        await clock.advance(70)
        await until(lambda: vault.asked[path] == 2)
    assert set(seen) == {0}


@pytest.mark.parametrize(
    # Half of twenty seconds, a twentieth of them earlier; and the least there is.
    ("lives", "renewed_at"),
    [(20, 9.0), (4, 5.0), (-60, 5.0)],
)
async def test_a_short_life_is_renewed_at_its_half_and_not_in_a_hot_loop(
    vault: FakeVault, state: StateDir, clock: ManualClock, lives: float, renewed_at: float
) -> None:
    asked: list[float] = []
    vault.lives, vault.backdated = timedelta(seconds=lives), timedelta(minutes=2)
    vault.watch = lambda path: asked.append(clock.monotonic()) if "/sign/" in path else None
    async with keeper(vault.settings, state, clock) as found:
        first = await found.held(SIGNED)
        await found.rests()
        await clock.advance(renewed_at - 0.1)
        await clock.advance(0.1)

        async def renewed() -> bool:
            return (await found.held(SIGNED)).version != first.version

        await until(renewed)
    assert asked == [0.0, pytest.approx(renewed_at)]


async def test_when_it_was_fetched_is_known_to_the_next_agent(
    vault: FakeVault, state: StateDir, clock: ManualClock
) -> None:
    vault.lives, vault.backdated = timedelta(seconds=60), timedelta(minutes=2)
    async with keeper(vault.settings, state, clock) as found:
        first = await found.held(SIGNED)
        await found.rests()
    await clock.advance(10)
    async with keeper(vault.settings, state, clock) as found:
        assert await found.held(SIGNED) == first
        await found.rests()
        await clock.advance(10)
        await found.rests()
        assert await found.held(SIGNED) == first
    assert vault.asked["pki/sign/edge"] == 1


async def test_a_disk_that_takes_no_copy_keeps_nobody_from_being_served(
    vault: FakeVault, state: StateDir, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    file = state.path / file_of(SIGNED)
    file.mkdir()
    async with keeper(vault.settings, state, clock) as found:
        held = await found.held(SIGNED)
        await found.rests()
        for _ in range(3):
            await clock.advance(60)
        assert await found.held(SIGNED) == held
        # Once, not at each try.
        (told,) = (one for one in caplog.records if "not stored" in one.message)
        said = vars(told)
        assert (said["file"], said["source"]) == (str(file), "Vault's pki/edge")
        assert said["reason"] == "Is a directory"
        assert found.certificates.complaints() == ()
        file.rmdir()
        await clock.advance(60)
    async with keeper(vault.settings, state, clock) as found:
        assert await found.held(SIGNED) == held
    assert vault.asked["pki/sign/edge"] == 1


async def test_a_copy_that_cannot_be_read_is_fetched_anew(
    vault: FakeVault, state: StateDir, clock: ManualClock
) -> None:
    chain, key = vault.leaf("shop.test")
    vault.keep("shop", chain, key)
    (state.path / file_of(SHOP)).mkdir()
    async with keeper(vault.settings, state, clock) as found:
        assert (await found.held(SHOP)).chain == chain


async def test_copies_that_nobody_asks_for_are_swept(
    vault: FakeVault, state: StateDir, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    vault.keep("shop", *vault.leaf("shop.test"))
    async with keeper(vault.settings, state, clock) as found:
        await asyncio.gather(found.held(SIGNED), found.held(SHOP))
        await found.rests(2)
    state.write("proof.json", "another's")
    (state.path / f".{file_of(SHOP)}.new").write_text("cut short")
    stuck = state.path / file_of(CertificateSource(Keep.KV, "secret", "stuck"))
    stuck.mkdir()
    copies = {file_of(SHOP), file_of(SIGNED), stuck.name}

    def kept() -> set[str]:
        return {file.name for file in state.path.glob("*certificate-*")}

    assert kept() == {*copies, f".{file_of(SHOP)}.new"}
    # Another agent, whose Envoy asks for one of the two, and for neither in the end.
    async with keeper(vault.settings, state, clock) as found:
        await found.rests(0)
        await clock.advance(60)
        await found.held(SHOP)
        await found.rests()
        await clock.advance(530)
        assert kept() == {*copies, f".{file_of(SHOP)}.new"}
        await clock.advance(20)
        assert kept() == {file_of(SHOP), stuck.name}
        assert str(stuck) in {vars(one).get("file") for one in caplog.records}

        async def forgotten() -> bool:
            await clock.advance(60)
            return kept() == {stuck.name}

        await until(forgotten)
    assert (state.path / "proof.json").exists()
