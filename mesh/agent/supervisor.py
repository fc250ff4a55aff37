"""Keeps Envoy running: adopts, starts, restarts with backoff, and hands over without a gap.

A loop looks at the Envoys there are, asks :mod:`mesh.agent.launch` what is due, and does it.
Two Envoys that hand over share their ports (``SO_REUSEPORT``, Envoy's default): the new one
accepts before the old one stops accepting, and the old one ends with its last connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from mesh.agent import envoy_process, launch
from mesh.agent.envoy_process import PLACES, EnvoyProcess, Role
from mesh.agent.http import RequestError
from mesh.agent.launch import Phase, Step
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks

logger = logging.getLogger(__name__)

LAST_GOOD: Final = "lastgood.json"
PROBE_SECONDS: Final = 2.0
"""How often the zone is tried while Envoy runs without it."""

_BUSY_TICK: Final = 0.05
_CALM_TICK: Final = 1.0
_PROVEN_SECONDS: Final = 30.0


class Supervisor:
    """Looks after the Envoys of one proxy."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDir,
        binary: Path,
        bootstrap: dict[str, Any],
        clock: Clock,
        *,
        zone_answers: Callable[[], Awaitable[bool]],
    ) -> None:
        """``bootstrap`` is the live one; ``zone_answers`` must not take longer than a second.

        Raises:
            EnvoyMissingError: the binary cannot be run.

        """
        self._settings = settings
        self._state = state
        self._binary = binary
        self._bootstrap = bootstrap
        self._build = envoy_process.build(binary)
        self._digest = self._digest_of(bootstrap)
        self._clock = clock
        self._zone_answers = zone_answers
        self._backoff = {role: Backoff(0.5, 30.0) for role in Role}
        self._not_before = dict.fromkeys(Role, 0.0)
        self._since = dict.fromkeys(Role, 0.0)
        self._running: dict[Role, EnvoyProcess] = {}
        self._serving: set[Role] = set()
        self._retiring: set[EnvoyProcess] = set()
        self._next_probe = 0.0
        self._answered = False
        self._wake = asyncio.Event()
        self._tasks = Tasks("envoys")
        self.restarts = 0

    @property
    def serving(self) -> EnvoyProcess | None:
        """The Envoy that carries the traffic, the live one if both do."""
        for role in (Role.LIVE, Role.FALLBACK):
            if role in self._serving and role in self._running:
                return self._running[role]
        return None

    @property
    def live(self) -> EnvoyProcess | None:
        """The Envoy that follows the zone, if it serves."""
        return self._running.get(Role.LIVE) if Role.LIVE in self._serving else None

    @property
    def processes(self) -> tuple[EnvoyProcess, ...]:
        """Every Envoy of this proxy, those that are being retired included."""
        return (*self._running.values(), *self._retiring)

    def follow(self, bootstrap: dict[str, Any]) -> None:
        """Have the live Envoy relieved by one with ``bootstrap``, if that differs from its own."""
        digest = self._digest_of(bootstrap)
        if digest != self._digest:
            self._bootstrap, self._digest = bootstrap, digest
            logger.info("the zone's addresses changed; envoy will be relieved")
            self._wake.set()

    async def adopt(self) -> bool:
        """Take over what an earlier agent left; return whether there was any.

        One of another build, or with another bootstrap, serves until it is relieved.  If it does
        not serve, or was told to end, it ends: nothing may wait for it.
        """
        left = [await envoy_process.adopt(place, self._state) for place in PLACES]
        # Of two for one role, the one that serves has it.
        for process, condition in sorted(filter(None, left), key=lambda each: not each[1].serves):
            current = process.run.role is Role.LIVE and process.run.digest == self._digest
            role = Role.LIVE if current else Role.FALLBACK
            hopeful = condition.serves or (current and not condition.draining)
            if role in self._running or not hopeful:
                self._retiring.add(process)
                continue
            self._running[role] = process
            self._since[role] = self._clock.monotonic()
        return bool(self.processes)

    async def run(self) -> None:
        """Supervise; runs forever.  Cancelled, it leaves the Envoys running."""
        async with self._tasks:
            for process in self._running.values():
                self._watch(process)
            for process in self._retiring:
                self._tasks.spawn(f"retire envoy {process.pid}", self.retire(process))
            while True:
                await self._observe()
                self._demote()
                await self._act(launch.decide(await self._view()))
                calm = set(self._running) == {Role.LIVE} and Role.LIVE in self._serving
                await self._pause(_CALM_TICK if calm else _BUSY_TICK)

    async def retire(self, process: EnvoyProcess) -> None:
        """Let an Envoy finish what it has, no longer than the drain time, and end it."""
        try:
            await process.admin.fail_health()
            await process.admin.close_listeners(inbound_only=False)
            async with asyncio.timeout(self._settings.drain_seconds):
                while process.alive() and any((await process.admin.connections()).values()):
                    await self._clock.sleep(_BUSY_TICK)
        except (RequestError, TimeoutError) as error:
            logger.info("retiring without waiting", extra={"pid": process.pid, "why": str(error)})
        await process.end()
        self._retiring.discard(process)
        logger.info("envoy retired", extra={"pid": process.pid})

    def _digest_of(self, bootstrap: dict[str, Any]) -> str:
        said = json.dumps([self._build, bootstrap], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _observe(self) -> None:
        now = self._clock.monotonic()
        for role, process in tuple(self._running.items()):
            if not process.alive():
                self._lost(role, process)
            elif role not in self._serving and await _serves(process):
                self._serving.add(role)
                logger.info("envoy serves", extra={"pid": process.pid, "role": role.value})
            elif role in self._serving and now - self._since[role] > _PROVEN_SECONDS:
                self._backoff[role].reset()

    def _lost(self, role: Role, process: EnvoyProcess) -> None:
        pause = self._backoff[role].next()
        self._not_before[role] = self._clock.monotonic() + pause
        del self._running[role]
        self._serving.discard(role)
        self._state.remove(envoy_process.run_file(process.place))
        self.restarts += 1
        logger.error(
            "envoy ended by itself; its own log says why",
            extra={
                "pid": process.pid,
                "role": role.value,
                "exit_code": process.exit_code(),
                "restart_in_seconds": round(pause, 2),
            },
        )

    def _demote(self) -> None:
        """Have a live Envoy of a former bootstrap serve as fallback until another relieves it."""
        process = self._running.get(Role.LIVE)
        if process is None or process.run.digest == self._digest:
            return
        if Role.FALLBACK in self._running:
            if Role.LIVE not in self._serving:
                self._retire(Role.LIVE)
            return  # one that serves has the fallback retired, and is the fallback at the next look
        self._running[Role.FALLBACK] = self._running.pop(Role.LIVE)
        self._since[Role.FALLBACK] = self._since[Role.LIVE]
        if Role.LIVE in self._serving:
            self._serving.remove(Role.LIVE)
            self._serving.add(Role.FALLBACK)
        self._next_probe = 0.0

    async def _view(self) -> launch.View:
        now = self._clock.monotonic()
        has_last_good = (self._state.path / LAST_GOOD).exists()
        ask = has_last_good and Role.LIVE not in self._running
        if ask and now >= self._next_probe:
            self._answered = await self._zone_answers()
            self._next_probe = self._clock.monotonic() + PROBE_SECONDS
        return launch.View(
            self._phase(Role.LIVE),
            self._phase(Role.FALLBACK),
            zone_answers=self._answered,
            has_last_good=has_last_good,
            live_for=now - self._since[Role.LIVE],
            may_start_live=now >= self._not_before[Role.LIVE],
            may_start_fallback=now >= self._not_before[Role.FALLBACK],
        )

    def _phase(self, role: Role) -> Phase:
        if role not in self._running:
            return Phase.ABSENT
        return Phase.SERVING if role in self._serving else Phase.STARTING

    async def _act(self, step: Step) -> None:
        if step is Step.START_LIVE:
            self._start(Role.LIVE, self._bootstrap, self._digest)
        elif step is Step.START_FALLBACK:
            self._start_fallback()
        elif step is Step.RETIRE_FALLBACK:
            self._retire(Role.FALLBACK)

    def _retire(self, role: Role) -> None:
        process = self._running.pop(role)
        self._serving.discard(role)
        self._retiring.add(process)
        self._tasks.spawn(f"retire envoy {process.pid}", self.retire(process))

    def _start_fallback(self) -> None:
        content = self._state.read(LAST_GOOD)
        try:
            bootstrap = json.loads(content or b"")
        except ValueError:
            logger.exception("the last known good configuration cannot be read; it is removed")
            self._state.remove(LAST_GOOD)
            return
        self._start(Role.FALLBACK, bootstrap, "")

    def _start(self, role: Role, bootstrap: dict[str, Any], digest: str) -> None:
        taken = {process.place for process in self.processes}
        free = [place for place in PLACES if place not in taken]
        if not free:
            return  # one is still being retired: the next look will find its place
        try:
            process = envoy_process.start(
                self._binary,
                free[0],
                bootstrap,
                self._settings,
                self._state,
                role=role,
                digest=digest,
            )
        except OSError as error:  # a full disk passes, and the other Envoy wants looking after
            pause = self._backoff[role].next()
            self._not_before[role] = self._clock.monotonic() + pause
            logger.error(  # noqa: TRY400 - the reason says it; a traceback at each try does not help
                "envoy not started: the state directory cannot be written",
                extra={"state_dir": str(self._state.path), "reason": str(error)},
            )
            return
        self._running[role] = process
        self._since[role] = self._clock.monotonic()
        self._watch(process)

    def _watch(self, process: EnvoyProcess) -> None:
        async def wait() -> None:
            await process.ended()
            self._wake.set()

        self._tasks.spawn(f"watch envoy {process.pid}", wait())


async def _serves(process: EnvoyProcess) -> bool:
    try:
        return (await process.admin.condition()).serves
    except RequestError:
        return False
