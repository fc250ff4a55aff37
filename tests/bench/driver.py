"""The bench's end of a simulated fleet: commands in, answers out (see ``fleet`` for both)."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

Json = dict[str, Any]

_ANSWER_WITHIN: Final = 30.0
_LONGEST_LINE: Final = 1 << 20
_ROOT: Final = Path(__file__).parents[2]


class FleetError(Exception):
    """The fleet did not do what it was asked to."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What each of ``proxies`` must acknowledge: a resource (of a version), or its removal."""

    type: str
    name: str
    proxies: Sequence[int]
    version: str | None = None
    gone: bool = False


class FleetProcess:
    """A fleet in a process of its own."""

    def __init__(self, plan: Path) -> None:
        """Prepare the fleet of ``plan``."""
        self._plan = plan
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        """Start it and wait until its certificates are loaded."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.fleet", str(self._plan)),
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        try:
            await self._hear("ready", _ANSWER_WITHIN)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        await self._end()

    async def up(self, seconds: float) -> Json:
        """Connect everybody within ``seconds``.

        Raises:
            FleetError: not every proxy was given all that it refers to.

        """
        self._tell(do="up", timeout=seconds)
        up = await self._hear("up", seconds + _ANSWER_WITHIN)
        if up["complete"] != up["proxies"]:
            raise FleetError(
                f"only {up['complete']} of {up['proxies']} proxies were complete after "
                f"{seconds:g} s; failed: {up['failed']}; {await self.stats()}"
            )
        return up

    async def arm(self, expected: Sequence[Expected], seconds: float) -> dict[int, Expected]:
        """Begin to watch for all of ``expected``; :meth:`reached` waits for them."""
        watched = {next(self._numbers): one for one in expected if one.proxies}
        for number, one in watched.items():
            wanted = {**asdict(one), "proxies": list(one.proxies)}
            self._tell(do="expect", id=number, timeout=seconds, **wanted)
        for _ in watched:
            await self._hear("armed", _ANSWER_WITHIN)
        return watched

    async def reached(self, watched: dict[int, Expected], seconds: float) -> float:
        """Return when the last of ``watched`` was acknowledged by its last proxy.

        Raises:
            FleetError: a proxy was not given what it must be given.

        """
        last = 0.0
        for _ in watched:
            answer = await self._hear("reached", seconds + _ANSWER_WITHIN)
            if answer["missing"]:
                one = watched[answer["id"]]
                raise FleetError(
                    f"{len(answer['missing'])} of {len(one.proxies)} proxies did not acknowledge "
                    f"{'the removal of ' if one.gone else ''}{one.name} "
                    f"({one.type.rpartition('.')[2]}, version {one.version or 'any'}) within "
                    f"{seconds:g} s: {answer['missing'][:10]}"
                )
            last = max(last, answer["last"])
        return last

    async def stats(self) -> Json:
        """Return how everybody is."""
        self._tell(do="stats")
        return await self._hear("stats", _ANSWER_WITHIN)

    def _tell(self, **command: Any) -> None:
        stdin = self._running().stdin
        if stdin is not None:
            stdin.write(json.dumps(command).encode() + b"\n")

    async def _hear(self, event: str, seconds: float) -> Json:
        stdout = self._running().stdout
        if stdout is None:
            raise FleetError("the fleet has no output")
        async with asyncio.timeout(seconds):
            line = await stdout.readline()
        if not line:
            raise FleetError(f"the fleet ended while {event!r} was awaited")
        answer: Json = json.loads(line)
        if answer["event"] != event:
            raise FleetError(f"expected {event!r} of the fleet, got {answer}")
        return answer

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise FleetError("the fleet has not been started")
        return self._process

    async def _end(self) -> None:
        process = self._running()
        if process.returncode is None:
            process.kill()
        await process.wait()
