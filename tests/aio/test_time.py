"""Clocks and backoff."""

from datetime import UTC, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mesh.aio.backoff import Backoff
from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks


def test_backoff_doubles_up_to_the_cap_and_resets() -> None:
    backoff = Backoff(1.0, 5.0, draw=lambda: 0.5)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    backoff.reset()
    assert backoff.next() == 0.5


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_backoff_never_exceeds_its_cap(draws: list[float]) -> None:
    pending = iter(draws)
    backoff = Backoff(0.1, 3.0, draw=lambda: next(pending))
    assert all(0 <= backoff.next() <= 3.0 for _ in draws)


async def test_manual_clock_wakes_sleepers_at_their_own_moments() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with Tasks() as tasks:
        tasks.spawn("late", sleeper("late", 10))
        tasks.spawn("early", sleeper("early", 3))
        await clock.sleeping(2)
        start = clock.now()
        await clock.advance(5)
        assert woken == [("early", 3.0)]
        assert clock.now() - start == timedelta(seconds=5)
        await clock.advance(5)
        assert woken == [("early", 3.0), ("late", 10.0)]


async def test_manual_clock_wakes_one_that_sleeps_again_within_the_same_advance() -> None:
    clock = ManualClock()
    ticks: list[float] = []

    async def ticking() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    async with Tasks() as tasks:
        tasks.spawn("ticking", ticking(), forever=True)
        await clock.sleeping()
        await clock.advance(3.5)
        assert ticks == [1.0, 2.0, 3.0]


async def test_system_clock_is_aware_and_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() > before
    assert clock.now().tzinfo is UTC
