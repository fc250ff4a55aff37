"""One watch, with scripted answers and hands of the clock turned by the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import Answer, Unreachable
from mesh.clients.consul.errors import Call
from mesh.sources.consul.guard import Rules
from mesh.sources.consul.loop import Surroundings, Watch
from mesh.sources.consul.settings import WatchSettings

CALL = Call("GET", "/v1/things", "http://consul")


class Script:
    """Stands for Consul: answers, blocking at the current index until something is set."""

    def __init__(self) -> None:
        """Start with nothing at index 1."""
        self.index = 1
        self.things: list[str] = []
        self.witness: bool | None = True
        self.failing = False
        self.asked: list[int] = []
        self.decoded = 0
        self.applied: list[list[str]] = []
        self.woken = 0
        self.after_empty: list[str] = []
        self.behind: Answer[list[str]] | None = None
        self._changed = asyncio.Event()

    def set(self, index: int, *things: str) -> None:
        """Hold ``things`` at ``index``."""
        self.index, self.things = index, list(things)
        self._changed.set()

    def fail(self, *, failing: bool) -> None:
        """Be gone, or there again."""
        self.failing = failing
        self._changed.set()

    def lag(self, index: int, *things: str) -> None:
        """Answer the query that waits as a server does that has not heard the newest."""
        self.behind = Answer(CALL, msgspec.json.encode(things), index, self._decode)
        self._changed.set()

    async def read(self, *, index: int = 0, wait: float = 0) -> Answer[list[str]]:
        """Answer, when there is something else than at ``index``."""
        self.asked.append(index)
        while wait and index == self.index and not (self.failing or self.behind):
            self._changed.clear()
            await self._changed.wait()
        if wait and self.behind:
            answer, self.behind = self.behind, None
            return answer
        if self.failing:
            raise Unreachable(CALL, "gone")
        answer = Answer(CALL, msgspec.json.encode(self.things), self.index, self._decode)
        if self.after_empty and not self.things:
            self.things = self.after_empty
        return answer

    def _decode(self, body: bytes) -> list[str]:
        self.decoded += 1
        return msgspec.json.decode(body, type=list[str])

    @property
    def last_asked(self) -> int:
        """Return the index last asked with, -1 before."""
        return self.asked[-1] if self.asked else -1

    def empties(self, things: list[str]) -> bool:
        """Whether ``things`` would replace something by nothing."""
        return bool(self.applied and self.applied[-1]) and not things

    async def look(self) -> bool | None:
        """Be the witness."""
        return self.witness

    def wake(self) -> None:
        """Count a wake."""
        self.woken += 1


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def watching(script: Script, clock: ManualClock) -> AsyncIterator[Watch[list[str]]]:
    rules = Rules(without_witness=1.5, after_regression=120)
    watch = Watch(
        "things",
        script.read,
        script.applied.append,
        Surroundings(clock, WatchSettings(guard=rules)),
        empties=script.empties,
        witness=script.look,
        woken=script.wake,
    )
    async with Tasks() as tasks:
        tasks.spawn("watch", watch.run(), forever=True)
        yield watch


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("the condition did not come true")


async def test_a_change_is_applied_once_and_a_wake_without_change_not_at_all(
    script: Script, clock: ManualClock
) -> None:
    async with watching(script, clock) as watch:
        script.set(5, "a")
        await until(lambda: script.applied[-1:] == [["a"]])
        before = script.decoded
        script.set(6, "a")
        await until(lambda: script.last_asked == 6)
        assert script.applied[-1] == ["a"]
        assert script.decoded == before
        woken = script.woken
        script.set(7, "a", "b")
        await until(lambda: script.applied[-1] == ["a", "b"])
        assert script.woken == woken + 1
        assert watch.status.last_error == ""


async def test_an_index_that_falls_starts_over(script: Script, clock: ManualClock) -> None:
    async with watching(script, clock):
        script.set(50, "a")
        await until(lambda: script.last_asked == 50)
        script.set(9, "b")
        await clock.sleeping()
        assert script.applied[-1] == ["b"]
        await clock.advance(1)
        await until(lambda: script.last_asked == 9)
        assert script.asked[-2] == 0


@pytest.mark.parametrize("leaderless", [False, True])
async def test_a_server_that_is_behind_does_not_bring_back_what_was(
    script: Script, clock: ManualClock, *, leaderless: bool
) -> None:
    """Any server may answer a query that waits; an intention withdrawn stays withdrawn."""
    script.set(50, "b")
    async with watching(script, clock):
        await until(lambda: script.last_asked == 50)
        script.failing, before = leaderless, len(script.asked)
        script.lag(40, "a", "b")
        await until(lambda: 0 in script.asked[before:])
        script.fail(failing=False)
        await clock.advance(10)
        await until(lambda: script.last_asked == 50)
        assert script.applied == [["b"]]


async def test_without_an_index_the_watch_does_not_spin(script: Script, clock: ManualClock) -> None:
    script.set(0, "a")
    async with watching(script, clock):
        await clock.sleeping()
        asked = len(script.asked)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(script.asked) == asked


async def test_what_was_known_stands_while_consul_is_gone_with_its_age(
    script: Script, clock: ManualClock
) -> None:
    script.set(5, "a")
    async with watching(script, clock) as watch:
        await until(lambda: script.last_asked == 5)
        learned = watch.status.last_success
        script.fail(failing=True)
        await clock.sleeping()
        await clock.advance(60)
        assert script.applied == [["a"]]
        assert "gone" in watch.status.last_error
        assert watch.status.last_success == learned
        script.fail(failing=False)
        await clock.sleeping()
        await clock.advance(10)
        await until(lambda: not watch.status.last_error)
        assert script.applied == [["a"]]
        assert learned is not None
        assert watch.status.last_success is not None
        assert watch.status.last_success > learned


async def test_emptiness_that_the_witness_vouches_for_is_believed_at_once(
    script: Script, clock: ManualClock
) -> None:
    script.set(5, "a", "b")
    async with watching(script, clock):
        await until(lambda: script.last_asked == 5)
        script.set(6)
        await until(lambda: script.applied[-1] == [])
        assert clock.monotonic() == 0.0


async def test_lost_rights_hold_the_last_state_for_as_long_as_they_last(
    script: Script, clock: ManualClock
) -> None:
    script.set(5, "a", "b")
    async with watching(script, clock) as watch:
        await until(lambda: script.last_asked == 5)
        script.witness = False
        script.set(6)
        await clock.sleeping()
        await clock.advance(3600)
        assert script.applied == [["a", "b"]]
        assert "the token lost rights" in watch.status.last_error
        script.witness = True
        script.set(7, "a")
        await clock.sleeping()
        await clock.advance(10)
        await until(lambda: script.applied[-1] == ["a"])
        assert watch.status.last_error == ""


async def test_without_a_witness_emptiness_must_last(script: Script, clock: ManualClock) -> None:
    script.witness = None
    script.set(5, "a")
    async with watching(script, clock):
        await until(lambda: script.last_asked == 5)
        script.set(6)
        await clock.sleeping()
        await clock.advance(1.4)
        assert script.applied == [["a"]]
        await clock.advance(0.6)
        await until(lambda: script.applied[-1] == [])


async def test_emptiness_after_lost_data_waits_for_registrations_to_come_back(
    script: Script, clock: ManualClock
) -> None:
    script.set(500, "a", "b")
    async with watching(script, clock) as watch:
        await until(lambda: script.last_asked == 500)
        script.set(3)
        await clock.sleeping()
        await clock.advance(60)
        assert script.applied == [["a", "b"]]
        assert "lost or restored their state" in watch.status.last_error
        script.set(8, "a")
        await clock.sleeping()
        await clock.advance(10)
        await until(lambda: script.applied[-1] == ["a"])


async def test_a_flicker_is_never_applied(script: Script, clock: ManualClock) -> None:
    """The first server answers empty; the leader, asked again, knows better."""
    script.set(5, "a")
    async with watching(script, clock):
        await until(lambda: script.last_asked == 5)
        script.after_empty = ["a", "b"]
        script.set(6)
        await until(lambda: len(script.applied) > 1)
        assert [] not in script.applied
