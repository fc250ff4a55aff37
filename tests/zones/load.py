"""Steady calls to several targets at once, every one kept: what came back, from whom, how soon.

Bounded in every direction: calls a second, calls at a time, calls in all, seconds.  A call
that cannot be made in time, because too many are under way, is skipped and counted as such: what
is slow gets fewer calls and no burst of them afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp

from mesh.aio.tasks import Tasks
from mesh.demo.load import Tally
from tests.zones.application import ZONE_HEADER

_LATE: Final = 0.1
"""Seconds by which a call may be late before it is skipped."""
_WORDS: Final = 140
"""Letters kept of an answer that failed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it began (monotonic), how long it took, and what came back from where."""

    began: float
    took: float
    outcome: str
    zone: str


@dataclass(slots=True)
class Calls:
    """All calls to one target, or some of them."""

    made: list[Call] = field(default_factory=list)
    skipped: int = 0

    @property
    def tally(self) -> Tally:
        """What became of them: statuses, and the words of those that failed."""
        return Tally(len(self.made), Counter(each.outcome for each in self.made))

    @property
    def sent(self) -> int:
        """How many there were."""
        return len(self.made)

    @property
    def failed(self) -> int:
        """How many were not answered with a 2xx."""
        return self.tally.failed

    @property
    def zones(self) -> Counter[str]:
        """How many each zone answered."""
        return Counter(each.zone for each in self.made if each.zone)

    def percentile(self, percent: float) -> float:
        """Return how many seconds so many percent of the calls took at most."""
        ordered = sorted(each.took for each in self.made)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0

    def since(self, moment: float) -> Calls:
        """Return those that began at ``moment`` (monotonic) or later."""
        return Calls([each for each in self.made if each.began >= moment])

    def between(self, began: float, ended: float) -> Calls:
        """Return those that began at ``began`` (monotonic) or later, and before ``ended``."""
        return Calls([each for each in self.made if began <= each.began < ended])

    def __str__(self) -> str:
        """Tell it on a line: ``sent/failed`` first."""
        zones = ", ".join(f"{zone}: {count}" for zone, count in sorted(self.zones.items()))
        times = ", ".join(f"p{each} {self.percentile(each) * 1e3:.1f} ms" for each in (50, 99, 100))
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.sent}/{self.failed}: {self.tally}{skipped}; {zones or 'no zone'}; {times}"


class Load:
    """Calls every target for as long as the block lasts, or until it has been enough."""

    def __init__(
        self,
        targets: Mapping[str, str],
        *,
        rate: float = 200.0,
        callers: int = 20,
        most: int = 100_000,
        seconds: float = 120.0,
        patience: float = 5.0,
    ) -> None:
        """Prepare calls to the URLs ``targets``, each ``rate`` times a second.

        To each at most ``callers`` at a time and ``most`` in all, within ``seconds``; a call that
        is not answered within ``patience`` seconds has failed.
        """
        self.calls = {name: Calls() for name in targets}
        self._targets = dict(targets)
        self._rate = rate
        self._callers = callers
        self._most = most
        self._seconds = seconds
        self._timeout = aiohttp.ClientTimeout(total=patience)
        self._due: dict[str, float] = {}
        self._begun: Counter[str] = Counter()
        self._ends = 0.0
        self._stopping = asyncio.Event()
        self._progress = asyncio.Condition()
        self._tasks = Tasks("load")
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._tasks.__aenter__()
        now = time.monotonic()
        self._ends = now + self._seconds
        self._due = dict.fromkeys(self._targets, now)
        self._running = [
            self._tasks.spawn(f"calls to {name}", self._target(name)) for name in self._targets
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop after the calls under way, and print what became of all."""
        self._stopping.set()
        if error is None:
            await asyncio.wait(self._running)
        await self._tasks.__aexit__(kind, error, traceback)
        print(self)  # noqa: T201 - shown with a test that fails, and for figures

    def __str__(self) -> str:
        """Tell it on a line for each target."""
        return "\n".join(f"{name} {calls}" for name, calls in self.calls.items())

    @property
    def failed(self) -> int:
        """How many calls failed, to any target."""
        return sum(each.failed for each in self.calls.values())

    async def reach(self, more: int) -> None:
        """Wait until every target has got ``more`` further calls, answered or not.

        Raises:
            AssertionError: the load ended before.

        """
        goals = {name: calls.sent + more for name, calls in self.calls.items()}

        def reached() -> bool:
            ended = all(each.done() for each in self._running)
            return ended or all(self.calls[name].sent >= goal for name, goal in goals.items())

        async with self._progress:
            await self._progress.wait_for(reached)
        assert all(self.calls[name].sent >= goal for name, goal in goals.items()), str(self)

    async def finished(self) -> None:
        """Wait until it has been enough."""
        await asyncio.wait(self._running)

    async def _target(self, name: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=self._timeout, connector=connector) as session:
            # A call on a connection that was just closed fails: that is what is counted here.
            session._retry_connection = False  # noqa: SLF001 - there is no other switch
            await asyncio.gather(*(self._caller(name, session) for _ in range(self._callers)))
        async with self._progress:
            self._progress.notify_all()

    async def _caller(self, name: str, session: aiohttp.ClientSession) -> None:
        while not self._stopping.is_set() and self._begun[name] < self._most:
            due = self._next(name)
            if due >= self._ends:
                return
            self._begun[name] += 1
            await asyncio.sleep(due - time.monotonic())
            if self._stopping.is_set():
                return
            began = time.monotonic()
            outcome, zone = await self._once(session, self._targets[name])
            call = Call(began, time.monotonic() - began, outcome, zone)
            self.calls[name].made.append(call)
            async with self._progress:
                self._progress.notify_all()

    def _next(self, name: str) -> float:
        """Return when the next call is due, leaving out those that are too late."""
        due, now = self._due[name], time.monotonic()
        if due < now - _LATE:
            missed = int((now - due) * self._rate)
            self.calls[name].skipped += missed
            due += missed / self._rate
        self._due[name] = due + 1 / self._rate
        return due

    async def _once(self, session: aiohttp.ClientSession, url: str) -> tuple[str, str]:
        try:
            async with session.get(url) as answer:
                text = await answer.text()
                words = "" if answer.ok else f" {text.strip()[:_WORDS]}"
                return f"{answer.status}{words}", answer.headers.get(ZONE_HEADER, "")
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"[:_WORDS].strip(), ""
