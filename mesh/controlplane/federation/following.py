"""The other zones' documents: read from their datacenters, and kept in our own KV store.

One task per datacenter waits for its document to change.  What it hears goes through ``belief``
into the zone's record.  The record is written by compare-and-set, so that one which somebody has
forgotten meanwhile (``mesh zone forget``) does not come back by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError, KeyValue
from mesh.controlplane.federation import belief
from mesh.model.violations import InvalidInputError
from mesh.model.zones import Gateway
from mesh.sources.zones import document, record
from mesh.sources.zones.record import ZoneRecord

_LOOK_EVERY: Final = 5.0
"""Seconds between looks at which datacenters there are."""
_WAIT: Final = 10.0
"""Seconds that a read waits for news: it is also how soon silence is noticed."""
_MARGIN: Final = 5.0
_CONNECTIONS: Final = 4
_REWRITE_EVERY: Final = 15.0
"""Seconds after which a record is written again, with the time of the last reading."""
_MEASURE_EVERY: Final = 5.0
_TOO_FAR: Final = 3.0
"""Seconds after which a gateway is taken not to answer."""

logger = logging.getLogger(__name__)


class Following:
    """Follows every other datacenter of this one's federation.  Only the leader runs it."""

    def __init__(self, consul: ConsulClient, zone: str, clock: Clock) -> None:
        """``consul`` is the zone's own."""
        self._consul = consul
        self._zone = zone
        self._clock = clock
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        # Those of an earlier term have ended with it.
        self._followed.clear()
        async with Tasks("other zones") as tasks:
            backoff = Backoff(0.5, _LOOK_EVERY)
            while True:
                try:
                    found = set(await self._consul.datacenters()) - {self._zone}
                except ConsulError as error:
                    logger.warning("datacenters unknown", extra={"reason": str(error)})
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                for name in sorted(found - self._followed.keys()):
                    other = OtherZone(self._consul, name, self._clock, own=self._zone)
                    self._followed[name] = tasks.spawn(f"follow zone {name}", other.run())
                for name in self._followed.keys() - found:
                    # It has left the federation; what is known of it stands until it is forgotten.
                    self._followed.pop(name).cancel()
                await self._clock.sleep(_LOOK_EVERY)


class OtherZone:
    """One other datacenter, and what is known of its zone."""

    def __init__(
        self,
        consul: ConsulClient,
        name: str,
        clock: Clock,
        client: Callable[[ConsulAddress], ConsulClient] | None = None,
        *,
        own: str,
    ) -> None:
        """Ask ``consul``, of the zone ``own``, for what the datacenter ``name`` holds."""
        self._zone = own
        self._own = consul
        self._name = name
        self._clock = clock
        self._client = client or _client
        self._known: ZoneRecord | None = None
        self._key = record.PREFIX + name
        self._index = 0
        self._writing = asyncio.Lock()
        self._emptied: datetime | None = None
        self._samples: tuple[float, ...] = ()
        self._written: ZoneRecord | None = None
        self._written_at = 0.0

    async def run(self) -> None:
        """Follow until cancelled."""
        async with Tasks(f"zone {self._name}") as tasks:
            await self._recall()
            tasks.spawn("measure the distance", self._measure(), forever=True)
            tasks.spawn("keep the record", self._keep(), forever=True)
            await self._listen()

    async def _listen(self) -> NoReturn:
        client = self._client(replace(self._own.address, datacenter=self._name))
        try:
            await self._follow(client)
        finally:
            await client.close()

    async def _follow(self, client: ConsulClient) -> NoReturn:
        backoff, index = Backoff(0.2, 5.0), 0
        while True:
            try:
                answer = await client.kv_get(
                    document.PREFIX + self._name, index=index, wait=_WAIT if index else 0
                )
                held = answer.value
            except ConsulError as error:
                index = 0
                await self._unheard(f"its Consul cannot be read: {error}")
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            index = answer.index if answer.index >= index else 0
            if held is None:
                await self._unheard("its Consul holds no document: is `mesh zone` running there?")
                index = 0
                await self._clock.sleep(backoff.next())
                continue
            await self._read(held.data)

    async def _read(self, data: bytes) -> None:
        try:
            found = document.parse(data, f"the document of zone {self._name}")
        except InvalidInputError as error:
            await self._unheard(f"its document cannot be read: {error}")
            return
        if found.zone.name != self._name:
            said = f"its document is that of a zone {found.zone.name}"
            await self._unheard(f"{said}: a zone is called as its datacenter")
            return
        before, now = self._known, self._clock.now()
        found = document.meant_for(found, self._zone)
        after, self._emptied = belief.heard(before, found, now, emptied=self._emptied)
        self._known = after
        if before is None or _differs(before, after):
            await self._write()

    async def _unheard(self, error: str) -> None:
        if self._known is None:
            logger.info("zone not known yet", extra={"other": self._name, "reason": error})
        elif self._known.error != error:
            logger.warning("zone not heard", extra={"other": self._name, "reason": error})
            self._known = belief.unheard(self._known, error)
            await self._write()

    async def _recall(self) -> None:
        """Go on from what an earlier leader knew."""
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                held = (await self._own.kv_get(self._key)).value
            except ConsulError as error:
                logger.warning("record not read", extra={"reason": str(error)})
                await self._clock.sleep(backoff.next())
                continue
            if held is not None:
                self._index = held.modify_index
                try:
                    self._known = self._decoded(held.data)
                except InvalidInputError as error:
                    # Of a release that wrote otherwise: what is heard now takes its place.
                    logger.warning("record not understood", extra={"reason": str(error)})
            return

    async def _keep(self) -> NoReturn:
        while True:
            await self._clock.sleep(_REWRITE_EVERY / 5)
            is_due = self._clock.monotonic() - self._written_at >= _REWRITE_EVERY
            # Of a zone that is silent there is nothing to write.
            if is_due and self._known != self._written:
                await self._write()

    async def _write(self) -> None:
        """Write what is known; by one task at a time, each on the index that the last has left."""
        async with self._writing:
            if self._may_write():
                await self._write_alone()

    def _may_write(self) -> bool:
        """Whether the record is for this task to write; asked when nobody else writes it."""
        return True

    async def _write_alone(self) -> None:
        if self._known is None:
            return
        key, known = self._key, self._known
        self._written_at = self._clock.monotonic()
        try:
            written = await self._own.kv_put(key, self._encoded(known), cas=self._index)
            held = (await self._own.kv_get(key)).value
        except ConsulError as error:
            logger.warning("record not written", extra={"other": self._name, "reason": str(error)})
            # Tried again soon.
            self._written_at = self._clock.monotonic() - _REWRITE_EVERY
            return
        self._written = known if written else None
        if held is not None and (written or self._is_ours(held)):
            self._index = held.modify_index
            if not written:
                # Another leader's word came between: ours is the newer, and is tried again soon.
                self._written_at = self._clock.monotonic() - _REWRITE_EVERY
            return
        self._index = 0
        if not written:
            # Somebody has forgotten the zone: only what it says from now on counts.
            self._known, self._samples, self._emptied = None, (), None

    def _is_ours(self, held: KeyValue) -> bool:  # noqa: ARG002 - a zone that is peered with can tell
        """Whether ``held``, which another has written, is of the zone that is followed here."""
        return True

    def _decoded(self, data: bytes) -> ZoneRecord | None:
        return record.parse(data, f"key {self._key}")

    def _encoded(self, known: ZoneRecord) -> bytes:
        return known.encode()

    async def _measure(self) -> NoReturn:
        while True:
            known = self._known
            gateways = known.zone.gateways if known is not None else ()
            sample = await _round_trip(gateways) if gateways else None
            if sample is not None and self._known is not None:
                before = self._known
                self._known, self._samples = belief.measured(before, self._samples, sample)
                if self._known != before:
                    await self._write()
            await self._clock.sleep(_MEASURE_EVERY if gateways else _MEASURE_EVERY / 5)


def _client(address: ConsulAddress) -> ConsulClient:
    return ConsulClient(address, max_connections=_CONNECTIONS, margin=_MARGIN)


def _differs(before: ZoneRecord, after: ZoneRecord) -> bool:
    """Whether there is more to say than that the zone was read again."""
    return (before.document, before.error) != (after.document, after.error)


async def _round_trip(gateways: tuple[Gateway, ...]) -> float | None:
    """Return how many milliseconds the nearest of ``gateways`` takes to accept a connection."""
    samples = []
    for gateway in gateways:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(_TOO_FAR):
                _, writer = await asyncio.open_connection(gateway.address, gateway.port)
        except (OSError, TimeoutError):
            continue
        samples.append((loop.time() - began) * 1000)
        writer.close()
    return min(samples, default=None)
