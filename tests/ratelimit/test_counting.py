"""Decisions over counters in memory, with the hands of the clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.aio.clock import ManualClock
from mesh.ratelimit.counting import Limiter
from mesh.ratelimit.errors import StoreUnavailableError
from mesh.ratelimit.memory import Memory
from mesh.ratelimit.requests import Hit
from tests.ratelimit.asking import UNITS, hit

MINUTE = UNITS.MINUTE


class Interrupted(Memory):
    """A memory that, as a server across a network does, lets others in before each answer."""

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Let others in, then decide."""
        await asyncio.sleep(0)
        return await super().acquire_sliding_window_entry(key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Answer, but let others in before the answer arrives."""
        found = await super().get_sliding_window(key, expiry)
        await asyncio.sleep(0)
        return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory(clock: ManualClock) -> Memory:
    return Memory(clock, 1_000)


@pytest.fixture
def limiter(memory: Memory) -> Limiter:
    return Limiter(memory)


async def allowed(limiter: Limiter, *hits: Hit) -> bool:
    return all(verdict.allowed for verdict in await limiter.decide(hits))


async def remaining(limiter: Limiter, *hits: Hit) -> list[int]:
    looks = [Hit(each.key, each.limit, each.unit, 0) for each in hits]
    return [verdict.remaining for verdict in await limiter.decide(looks)]


async def test_a_limit_lets_its_number_pass_and_tells_what_is_left(limiter: Limiter) -> None:
    verdicts = [(await limiter.decide([hit("a", 3, unit=MINUTE)]))[0] for _ in range(4)]
    assert [(each.allowed, each.remaining) for each in verdicts] == [
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
    ]
    assert [each.reset for each in verdicts] == [60.0] * 4


async def test_cost_is_taken_whole_or_not_at_all(limiter: Limiter) -> None:
    assert await allowed(limiter, hit("a", 10, 7))
    assert not await allowed(limiter, hit("a", 10, 4))
    assert await remaining(limiter, hit("a", 10)) == [3]
    assert await allowed(limiter, hit("a", 10, 3))


async def test_no_cost_takes_nothing_and_tells_whether_anything_is_left(limiter: Limiter) -> None:
    assert await allowed(limiter, hit("a", 1, 0))
    assert await allowed(limiter, hit("a", 1))
    assert not await allowed(limiter, hit("a", 1, 0))


async def test_a_limit_of_zero_lets_nothing_pass(limiter: Limiter) -> None:
    assert not await allowed(limiter, hit("a", 0))
    assert not await allowed(limiter, hit("a", 0), hit("b", 5))


async def test_who_is_refused_by_one_limit_pays_for_none(limiter: Limiter) -> None:
    narrow, wide = hit("narrow", 1), hit("wide", 10)
    assert await allowed(limiter, narrow, wide)
    for _ in range(5):
        verdicts = await limiter.decide([wide, narrow])
        assert [each.allowed for each in verdicts] == [True, False]
    assert await remaining(limiter, wide) == [9]


async def test_descriptors_that_share_a_counter_pay_together(limiter: Limiter) -> None:
    assert not await allowed(limiter, hit("a", 10, 6), hit("a", 10, 6))
    assert await remaining(limiter, hit("a", 10)) == [10]
    assert await allowed(limiter, hit("a", 10, 5), hit("a", 10, 5))
    assert await remaining(limiter, hit("a", 10)) == [0]


async def test_a_raised_limit_keeps_what_was_used(limiter: Limiter) -> None:
    assert await allowed(limiter, hit("a", 2, 2))
    assert not await allowed(limiter, hit("a", 2))
    assert await remaining(limiter, hit("a", 5)) == [3]


async def test_the_border_of_two_windows_does_not_let_twice_the_limit_pass(
    limiter: Limiter, clock: ManualClock
) -> None:
    await clock.advance(59.0)
    assert await allowed(limiter, hit("a", 60, 60, unit=MINUTE))
    await clock.advance(2.0)
    # One second of the new window has passed: one sixtieth of the old one no longer counts.
    assert await remaining(limiter, hit("a", 60, unit=MINUTE)) == [1]
    await clock.advance(29.0)
    assert await remaining(limiter, hit("a", 60, unit=MINUTE)) == [30]
    await clock.advance(60.0)
    assert await remaining(limiter, hit("a", 60, unit=MINUTE)) == [60]


async def test_after_the_reset_there_is_room_and_before_it_there_is_none(
    limiter: Limiter, clock: ManualClock
) -> None:
    await allowed(limiter, hit("a", 10, 10, unit=MINUTE))
    await clock.advance(75.0)
    await allowed(limiter, hit("a", 10, 2, unit=MINUTE))
    # Three quarters of 10, rounded down, and 2: one is left, and taken.
    (verdict,) = await limiter.decide([hit("a", 10, unit=MINUTE)])
    assert (verdict.allowed, verdict.remaining) == (True, 0)
    assert verdict.reset == pytest.approx(3.0)
    await clock.advance(verdict.reset - 0.001)
    assert not await allowed(limiter, hit("a", 10, unit=MINUTE))
    await clock.advance(0.002)
    assert await allowed(limiter, hit("a", 10, unit=MINUTE))


async def test_a_lowered_limit_tells_when_it_has_room(limiter: Limiter, clock: ManualClock) -> None:
    await allowed(limiter, hit("a", 10, 10, unit=MINUTE))
    (verdict,) = await limiter.decide([hit("a", 5, unit=MINUTE)])
    assert verdict.reset == pytest.approx(60.0 + 30.0)
    await clock.advance(89.999)
    assert not await allowed(limiter, hit("a", 5, unit=MINUTE))
    await clock.advance(0.002)
    assert await allowed(limiter, hit("a", 5, unit=MINUTE))


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 7.0, 29.5, 60.0, 150.0]),
        st.lists(
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), min_size=1, max_size=3),
            min_size=1,
            max_size=8,
        ),
    ),
    max_size=8,
)
LIMITS = {"a": 1, "b": 4, "c": 9}


@settings(deadline=None)
@given(STEPS, st.booleans())
async def test_never_more_than_the_limit_passes_in_a_window(
    steps: Sequence[tuple[float, Sequence[Sequence[tuple[str, int]]]]],
    interrupted: bool,  # noqa: FBT001 - drawn
) -> None:
    clock = ManualClock()
    storage = (Interrupted if interrupted else Memory)(clock, 100)
    limiter = Limiter(storage)
    passed: Counter[tuple[str, int]] = Counter()
    for pause, asked in steps:
        await clock.advance(pause)
        window = int(clock.monotonic() // 60)
        requests = [[hit(key, LIMITS[key], cost, MINUTE) for key, cost in one] for one in asked]
        answers = await asyncio.gather(*(limiter.decide(hits) for hits in requests))
        for hits, verdicts in zip(requests, answers, strict=True):
            if all(verdict.allowed for verdict in verdicts):
                passed.update({(each.key, window): 0 for each in hits})
                for each in hits:
                    passed[each.key, window] += each.cost
        if not interrupted:
            # Nothing came between looking and taking, so that no refused request paid.
            for key in LIMITS:
                _, _, count, _ = await storage.get_sliding_window(key, 60)
                assert count == passed[key, window]
    assert all(count <= LIMITS[key] for (key, _), count in passed.items())


async def test_who_loses_the_last_of_a_scarce_limit_pays_for_no_other(clock: ManualClock) -> None:
    limiter = Limiter(Interrupted(clock, 100))
    scarce, wide = hit("scarce", 1), hit("wide", 100)
    answers = await asyncio.gather(*(limiter.decide([wide, scarce]) for _ in range(10)))
    assert sum(all(each.allowed for each in verdicts) for verdicts in answers) == 1
    assert await remaining(limiter, wide) == [99]


async def test_expired_counters_make_room(clock: ManualClock, memory: Memory) -> None:
    limiter = Limiter(memory)
    for number in range(500):
        await limiter.decide([hit(f"first {number}", 5, unit=MINUTE)])
    await clock.advance(121.0)
    for number in range(300):
        await limiter.decide([hit(f"second {number}", 5, unit=MINUTE)])
    assert len(memory) == 300


async def test_a_full_memory_keeps_its_counters_and_refuses_new_ones(
    clock: ManualClock, memory: Memory, limiter: Limiter
) -> None:
    for number in range(1_000):
        assert await allowed(limiter, hit(f"{number}", 1, unit=MINUTE))
    with pytest.raises(StoreUnavailableError, match="memory is full"):
        await limiter.decide([hit("one more", 1, unit=MINUTE)])
    assert not await allowed(limiter, hit("0", 1, unit=MINUTE))
    await clock.advance(121.0)
    assert await allowed(limiter, hit("one more", 1, unit=MINUTE))
    assert len(memory) < 1_000
