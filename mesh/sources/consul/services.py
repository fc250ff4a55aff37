"""The instances of the services that proxies need.

Each service has one :class:`~mesh.sources.consul.loop.Watch`.  As many as the budget of
connections allows block on ``health/connect`` and hear of a change within a millisecond or two;
the others are *swept*: fetched when ``catalog/services`` or ``health/state/any`` wakes, those
first whose checks changed.  A service that is needed no more keeps its place until its query
ends; the place then goes to one of the swept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from mesh.aio.tasks import Tasks
from mesh.clients.consul import Answer, ConsulClient, HealthCheck, HealthEntry
from mesh.model.names import OUTSIDE
from mesh.sources.consul import sweep
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.loop import Surroundings, Watch, WatchStatus

Witness = Callable[[], Awaitable[bool | None]]


def connect_watch(service: str) -> str:
    """Return the name of the watch that keeps ``service``."""
    return f"health/connect/{service}"


class Services:
    """Watches and sweeps what is needed."""

    def __init__(
        self,
        client: ConsulClient,
        knowledge: Knowledge,
        surroundings: Surroundings,
        witness: Witness,
        settled: Callable[[str], None],
    ) -> None:
        """``settled`` hears the name of every watch that Consul answered."""
        self._client = client
        self._knowledge = knowledge
        self._surroundings = surroundings
        self._witness = witness
        self._settled = settled
        self._tasks: Tasks | None = None
        self._needed: frozenset[str] = frozenset()
        self._watches: dict[str, Watch[tuple[HealthEntry, ...]]] = {}
        self._blocking: set[str] = set()
        self._checks: Watch[tuple[HealthCheck, ...]] | None = None
        self._known_checks: sweep.Checks = {}
        self._due = sweep.Due()
        self._anything_due = asyncio.Event()

    @property
    def status(self) -> tuple[WatchStatus, ...]:
        """The age of what is known of each needed service."""
        found = [self._watches[name].status for name in sorted(self._needed & set(self._watches))]
        return (*found, self._checks.status) if self._checks is not None else tuple(found)

    @property
    def needed(self) -> frozenset[str]:
        """What was last asked for."""
        return self._needed

    def start(self, tasks: Tasks) -> None:
        """Begin, as tasks of ``tasks``."""
        self._tasks = tasks
        for number in range(self._surroundings.settings.sweepers):
            tasks.spawn(f"sweep {number}", self._sweeper(), forever=True)
        self._assign()

    def need(self, services: frozenset[str]) -> None:
        """From now on keep ``services``, and nothing else, up to date."""
        if services != self._needed:
            self._needed = services
            self._assign()

    def catalog_woke(self) -> None:
        """Look at every swept service: its instances may have changed, even without checks."""
        self._look(self._swept(), urgent=False)

    def _swept(self) -> frozenset[str]:
        return self._needed - self._blocking

    def _assign(self) -> None:
        if self._tasks is None:
            return
        for service in self._watches.keys() - self._needed - self._blocking:
            if not self._due.is_under_way(service):
                del self._watches[service]
                self._knowledge.forget(service)
        places = self._surroundings.settings.max_watches - len(self._blocking)
        waiting = sorted(self._swept())
        for service in waiting[: max(places, 0)]:
            self._blocking.add(service)
            self._tasks.spawn(f"watch {service}", self._block(service))
        swept = [service for service in waiting if service not in self._blocking]
        self._look([service for service in swept if service not in self._watches], urgent=True)
        if swept and self._checks is None:
            self._checks = self._checks_watch()
            self._tasks.spawn("watch checks", self._watch_checks(self._checks))

    async def _block(self, service: str) -> None:
        await self._watch(service).run(lambda: service in self._needed)
        self._blocking.discard(service)
        self._assign()

    async def _watch_checks(self, watch: Watch[tuple[HealthCheck, ...]]) -> None:
        await watch.run(lambda: bool(self._swept()))
        self._checks = None
        self._known_checks = {}
        self._assign()

    async def _sweeper(self) -> None:
        while True:
            service = self._due.take()
            if service is None:
                self._anything_due.clear()
                await self._anything_due.wait()
                continue
            again = False
            if service in self._swept():
                again = not await self._watch(service).turn()
            self._due.done(service)
            # A round may have passed over it while it was under way.
            self._anything_due.set()
            if service not in self._needed:
                # Let go of meanwhile: what is known of it would grow old.
                self._assign()
            elif again:
                self._look([service], urgent=False)

    def _look(self, services: frozenset[str] | list[str], *, urgent: bool) -> None:
        if services:
            self._due.add(services, urgent=urgent)
            self._anything_due.set()

    def _watch(self, service: str) -> Watch[tuple[HealthEntry, ...]]:
        if service not in self._watches:
            self._watches[service] = Watch(
                connect_watch(service),
                self._asked(service),
                partial(self._knowledge.instances, service),
                self._surroundings,
                empties=partial(self._knowledge.empties_instances, service),
                witness=self._witness,
                settled=partial(self._settled, connect_watch(service)),
            )
        return self._watches[service]

    def _asked(self, service: str) -> Callable[..., Awaitable[Answer[tuple[HealthEntry, ...]]]]:
        if service.startswith(OUTSIDE):
            return partial(self._client.health_service, service.removeprefix(OUTSIDE))
        return partial(self._client.health_connect, service)

    def _checks_watch(self) -> Watch[tuple[HealthCheck, ...]]:
        return Watch(
            "health/state/any",
            self._client.health_state,
            self._checks_changed,
            self._surroundings,
            witness=self._witness,
        )

    def _checks_changed(self, checks: tuple[HealthCheck, ...]) -> None:
        before, self._known_checks = self._known_checks, sweep.by_key(checks)
        services, nodes = sweep.touched(before, self._known_checks)
        swept = self._swept()
        on_nodes = {
            service
            for service in swept
            if any(item.node in nodes for item in self._knowledge.known_instances(service))
        }
        outside = {f"{OUTSIDE}{service}" for service in services}
        self._look(swept & (services | outside | on_nodes), urgent=True)
