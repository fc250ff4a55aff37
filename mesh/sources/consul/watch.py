"""Consul as a source: one supervised task per blocking query, changes out.

The zone as a whole is watched by name of services, intentions, configuration entries,
policies, rollouts and virtual addresses; instances only of the services that proxies need.  What
arrives is handed on at once, without gathering: whoever renders decides what to gather.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import Answer, ConsulClient, ConsulError, Dialect, KeyValue
from mesh.clients.consul.intention_entries import KIND as SERVICE_INTENTIONS
from mesh.sources.consul import policies, rollouts, vips
from mesh.sources.consul.knowledge import Knowledge, RawEntries
from mesh.sources.consul.loop import Surroundings, Watch, WatchStatus
from mesh.sources.consul.policy import DefaultPolicy
from mesh.sources.consul.problems import Problems
from mesh.sources.consul.services import Services, connect_watch
from mesh.sources.consul.settings import WatchSettings
from mesh.sources.consul.witness import Witnesses
from mesh.sources.zones import peers as peer_records
from mesh.sources.zones import record as zone_records
from mesh.world.changes import Change

logger = logging.getLogger(__name__)

_CATALOG = "catalog/services"
_CONFIG = "config"
_INTENTIONS = "connect/intentions"
_VIPS = f"kv/{vips.PREFIX}"
_POLICIES = f"kv/{policies.PREFIX}"
_MIRROR = f"kv/{policies.MIRROR}"
_ROLLOUTS = f"kv/{rollouts.PREFIX}"
_ZONES = f"kv/{zone_records.PREFIX}"
_PEERS = f"kv/{peer_records.PREFIX}"
_POLICY = "default policy"
_WHOLE_ZONE = frozenset(
    {
        *(_CATALOG, _CONFIG, _INTENTIONS, _VIPS, _POLICIES, _MIRROR, _ROLLOUTS),
        *(_ZONES, _PEERS, _POLICY),
    }
)


class ConsulSource:
    """Watches one zone's Consul and emits what changes."""

    def __init__(
        self,
        client: ConsulClient,
        emit: Callable[[Change], None],
        problems: Problems,
        clock: Clock,
        settings: WatchSettings | None = None,
    ) -> None:
        """Nothing is asked before :meth:`run`.

        ``emit`` is called in the event loop, once per change and never with what was said
        before.  ``problems`` holds what is malformed.
        """
        self.ready = asyncio.Event()
        """Set once everything, needed services included, was emitted for the first time."""
        self._client = client
        self._clock = clock
        self._settings = settings or WatchSettings()
        self._surroundings = Surroundings(clock, self._settings)
        self._knowledge = Knowledge(emit, problems)
        self._witnesses = Witnesses(client)
        self._services = Services(
            client,
            self._knowledge,
            self._surroundings,
            self._witnesses.instances,
            self._settled,
        )
        self._missing: set[str] = set()
        self._dialect: Dialect | None = None
        self._policy = DefaultPolicy(client, self._knowledge, self._surroundings, self._settled)
        self._catalog_woke = asyncio.Event()
        self._catalog = self._watch_catalog()
        self._config = self._watch_config()
        self._records = self._watch_records()
        self._vips = self._watch_keys(
            _VIPS, vips.PREFIX, self._knowledge.addresses, self._knowledge.empties_addresses
        )
        self._policies = self._watch_keys(
            _POLICIES,
            policies.PREFIX,
            self._knowledge.policies,
            self._knowledge.empties_policies,
        )
        self._mirror = self._watch_keys(
            _MIRROR, policies.MIRROR, self._knowledge.mirror, self._knowledge.empties_mirror
        )
        self._rollouts = self._watch_keys(
            _ROLLOUTS,
            rollouts.PREFIX,
            self._knowledge.rollouts,
            self._knowledge.empties_rollouts,
        )
        self._zones = self._watch_keys(
            _ZONES, zone_records.PREFIX, self._knowledge.zones, self._knowledge.empties_zones
        )
        self._peers = self._watch_keys(
            _PEERS, peer_records.PREFIX, self._knowledge.peers, self._knowledge.empties_peers
        )

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            TaskFailedError: a watch ended through a defect; Consul's failures are outlived.

        """
        async with Tasks("Consul source") as tasks:
            self._missing = {*_WHOLE_ZONE, *map(connect_watch, self._services.needed)}
            self._services.start(tasks)
            tasks.spawn("watch catalog", self._catalog.run(), forever=True)
            tasks.spawn("watch virtual addresses", self._vips.run(), forever=True)
            tasks.spawn("watch policies", self._policies.run(), forever=True)
            tasks.spawn("watch the primary's policies", self._mirror.run(), forever=True)
            tasks.spawn("watch rollouts", self._rollouts.run(), forever=True)
            tasks.spawn("watch other zones", self._zones.run(), forever=True)
            tasks.spawn("watch peers", self._peers.run(), forever=True)
            tasks.spawn("watch config entries", self._watch_entries(tasks), forever=True)
            tasks.spawn("learn default policy", self._policy.run(), forever=True)
            tasks.spawn("hear of default policy", self._policy.hear(), forever=True)
            tasks.spawn("prepare witness", self._prepare_witness(), forever=True)
            await tasks.failed()

    def need(self, services: frozenset[str]) -> None:
        """Keep the instances of ``services`` up to date, and of no other."""
        self._services.need(services)
        if not self._missing:
            return
        kept = {*_WHOLE_ZONE, *map(connect_watch, services)}
        if self._missing - kept:
            self._missing &= kept
            self._check_ready()

    def status(self) -> tuple[WatchStatus, ...]:
        """Return the age of what each watch knows, and what ails it."""
        records = (self._records.status,) if self._dialect is Dialect.LEGACY else ()
        return (
            self._catalog.status,
            self._config.status,
            *records,
            self._vips.status,
            self._policies.status,
            self._mirror.status,
            self._rollouts.status,
            self._zones.status,
            self._peers.status,
            self._policy.status,
            *self._services.status,
        )

    def _settled(self, watch: str) -> None:
        if watch in self._missing:
            self._missing.discard(watch)
            self._check_ready()

    def _check_ready(self) -> None:
        if not self._missing:
            self.ready.set()

    async def _watch_entries(self, tasks: Tasks) -> None:
        # Nothing is read before it is known where the intentions are.
        backoff = Backoff(self._settings.backoff_base, self._settings.backoff_cap)
        while self._dialect is None:
            try:
                self._dialect = await self._client.dialect()
            except ConsulError as error:
                self._config.status = WatchStatus(_CONFIG, None, str(error))
                logger.warning("Consul dialect unknown", extra={"error": str(error)})
                await self._clock.sleep(backoff.next())
        if self._dialect is Dialect.LEGACY:
            legacy = self._records.run(lambda: self._dialect is Dialect.LEGACY)
            tasks.spawn("watch intentions", legacy)
        await self._config.run()

    async def _prepare_witness(self) -> None:
        while True:
            await self._catalog_woke.wait()
            self._catalog_woke.clear()
            try:
                await self._witnesses.prepare()
            except ConsulError as error:
                logger.debug("witness not readable", extra={"error": str(error)})

    def _watch_catalog(self) -> Watch[Mapping[str, tuple[str, ...] | None]]:
        def take(services: Mapping[str, object]) -> None:
            self._witnesses.saw_catalog(services)
            self._knowledge.catalog(services)

        def woken() -> None:
            self._catalog_woke.set()
            self._services.catalog_woke()

        return Watch(
            _CATALOG,
            self._client.catalog_services,
            take,
            self._surroundings,
            empties=self._knowledge.empties_catalog,
            witness=self._witnesses.services,
            woken=woken,
            settled=lambda: self._settled(_CATALOG),
        )

    def _watch_config(self) -> Watch[RawEntries]:
        async def read(*, index: int = 0, wait: float = 0) -> Answer[RawEntries]:
            return await self._client.config_list(index=index, wait=wait)

        def take(found: RawEntries) -> None:
            if any(raw.get("Kind") == SERVICE_INTENTIONS for raw in found):
                # The servers may have been upgraded while we watched.
                self._dialect = Dialect.CONFIG_ENTRIES
            modern = self._dialect is Dialect.CONFIG_ENTRIES
            self._knowledge.entries(found, with_intentions=modern)

        def settled() -> None:
            self._settled(_CONFIG)
            if self._dialect is Dialect.CONFIG_ENTRIES:
                self._settled(_INTENTIONS)

        def woken() -> None:
            if self._dialect is Dialect.CONFIG_ENTRIES:
                self._policy.ask()

        return Watch(
            _CONFIG,
            read,
            take,
            self._surroundings,
            empties=self._knowledge.empties_entries,
            witness=self._witnesses.services,
            woken=woken,
            settled=settled,
        )

    def _watch_records(self) -> Watch[RawEntries]:
        def take(records: RawEntries) -> None:
            if self._dialect is Dialect.LEGACY:
                self._knowledge.records(records)

        return Watch(
            _INTENTIONS,
            self._client.intentions.legacy,
            take,
            self._surroundings,
            empties=self._knowledge.empties_records,
            witness=self._witnesses.services,
            woken=self._policy.ask,
            settled=lambda: self._settled(_INTENTIONS),
        )

    def _watch_keys(
        self,
        name: str,
        prefix: str,
        apply: Callable[[tuple[KeyValue, ...]], None],
        empties: Callable[[tuple[KeyValue, ...]], bool],
    ) -> Watch[tuple[KeyValue, ...]]:
        async def read(*, index: int = 0, wait: float = 0) -> Answer[tuple[KeyValue, ...]]:
            return await self._client.kv_list(prefix, index=index, wait=wait)

        return Watch(
            name,
            read,
            apply,
            self._surroundings,
            empties=empties,
            witness=lambda: self._witnesses.keys(prefix),
            settled=lambda: self._settled(name),
        )
