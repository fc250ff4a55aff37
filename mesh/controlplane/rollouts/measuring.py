"""Asks the proxies that are connected to this instance how the calls of rollouts go.

Counters only grow, so what counts is by how much they grew between two answers of the same
proxy: one that comes, or that comes back after a restart, begins a new count.  The sums grow as
well, and are published as they are: whoever reads them may miss some and loses nothing.

Of many callers a steady sample is asked, few at a time, and only while a rollout is judged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.clients.consul import ConsulError
from mesh.clients.measurements import MeasurementClient, MeasurementError
from mesh.controlplane.hub import Hub
from mesh.controlplane.rollouts.store import Published, RolloutStore
from mesh.envoy.resource import CLUSTER, Snapshot
from mesh.model.destinations import Target
from mesh.model.rollouts import Rollout
from mesh.model.services import Protocol
from mesh.policies.kinds.rollout import KIND, RolloutSpec
from mesh.policies.rollouts.figures import NOTHING, Figures, Reading, figures, grown
from mesh.routing.chain import ChainError, resolve
from mesh.world.snapshot import World
from mesh.xds.status import Connected

SAMPLE: Final = 50
"""How many proxies are asked about one rollout, at most."""
_IDLE: Final = 0.5
"""Seconds between two looks for a rollout to measure."""
_STRIDE: Final = 100
"""How many proxies are looked at before others get their turn."""
_INTERVAL: Final = 10.0
"""Where the policy cannot be read."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Meter:
    """What was measured of one run; ``readings`` is each proxy's last answer, by cluster."""

    run: str
    began: datetime
    next_at: float
    canary: Figures = NOTHING
    stable: Figures = NOTHING
    readings: dict[str, Mapping[str, Reading]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Callers:
    """The proxies that call the service, and where those of the sample are asked."""

    count: int
    places: Mapping[str, str]


class Measuring:
    """One zone instance's part."""

    def __init__(
        self,
        hub: Hub,
        proxies: Callable[[], Sequence[Connected]],
        store: RolloutStore,
        instance: str,
        clock: Clock,
    ) -> None:
        """``proxies`` describes the connected ones; ``instance`` names this zone instance."""
        self._hub = hub
        self._proxies = proxies
        self._store = store
        self._instance = instance
        self._clock = clock
        self._meters: dict[str, _Meter] = {}

    async def run(self) -> NoReturn:
        """Measure whatever is judged, until cancelled."""
        async with MeasurementClient() as client:
            while True:
                try:
                    await self.turn(client)
                except ConsulError as error:
                    logger.warning("measurements not published", extra={"reason": str(error)})
                await self._clock.sleep(self._pause())

    async def turn(self, client: MeasurementClient) -> None:
        """Measure each rollout that is due.

        Raises:
            ConsulError: something could not be published; it is, the next time.

        """
        world, now = self._hub.world, self._clock.monotonic()
        judged = {one.name: one for one in world.rollouts.values() if one.run}
        for name in self._meters.keys() - judged.keys():
            del self._meters[name]
        for name, rollout in judged.items():
            meter = self._meters.get(name)
            if meter is None or meter.run != rollout.run:
                meter = self._meters[name] = _Meter(rollout.run, self._clock.now(), now)
            if now >= meter.next_at:
                meter.next_at = now + _interval(world, name)
                measured = await self._measure(client, world, rollout, meter)
                await self._store.publish(name, self._instance, measured)

    def _pause(self) -> float:
        nearest = min((meter.next_at for meter in self._meters.values()), default=None)
        if nearest is None:
            return _IDLE
        return min(_IDLE, max(0.0, nearest - self._clock.monotonic()))

    async def _measure(
        self, client: MeasurementClient, world: World, rollout: Rollout, meter: _Meter
    ) -> Published:
        targets = _targets(world, rollout)
        found = Published(meter.run, meter.began, self._clock.now(), meter.canary, meter.stable)
        if targets is None:
            return found
        canary, stable = targets
        names = (canary.name, stable.name)
        protocol = world.protocol(stable.service)
        callers = await self._callers(names)
        asked = callers.places.items()
        answers = await asyncio.gather(
            *(_ask(client, place, names, protocol) for _, place in asked)
        )
        answered = 0
        for (proxy, _), answer in zip(asked, answers, strict=True):
            if answer is None:
                continue
            answered += 1
            before = meter.readings.get(proxy)
            meter.readings[proxy] = answer
            if before is not None:
                meter.canary = meter.canary.plus(_since(before, answer, canary, protocol))
                meter.stable = meter.stable.plus(_since(before, answer, stable, protocol))
        for gone in meter.readings.keys() - callers.places.keys():
            del meter.readings[gone]
        return Published(
            meter.run,
            meter.began,
            self._clock.now(),
            meter.canary,
            meter.stable,
            callers.count,
            len(callers.places),
            answered,
        )

    async def _callers(self, clusters: Sequence[str]) -> _Callers:
        """Choose whom to ask: the same ones each time, as long as they are there."""
        count, places = 0, dict[str, str]()
        for index, proxy in enumerate(sorted(self._proxies(), key=_steady)):
            if index % _STRIDE == _STRIDE - 1:
                await asyncio.sleep(0)
            if not _calls(self._hub.snapshot(proxy.session), clusters):
                continue
            count += 1
            place = _place(proxy)
            if place and len(places) < SAMPLE:
                places[f"{proxy.node}@{place}"] = place
        return _Callers(count, places)


async def _ask(
    client: MeasurementClient, place: str, clusters: Sequence[str], protocol: Protocol
) -> Mapping[str, Reading] | None:
    try:
        return await client.ask(place, clusters, hosts=protocol is Protocol.GRPC)
    except MeasurementError as error:
        logger.info("a proxy was not measured", extra={"reason": str(error)})
        return None


def _since(
    before: Mapping[str, Reading], now: Mapping[str, Reading], target: Target, protocol: Protocol
) -> Figures:
    name = target.name
    return figures(grown(before.get(name, {}), now.get(name, {})), protocol)


def _targets(world: World, rollout: Rollout) -> tuple[Target, Target] | None:
    """Return where the two versions' calls end: their clusters bear those names."""
    try:
        canary, stable = (
            resolve(world.entries, each.service, each.subset, zone=world.zone).target
            for each in (rollout.canary, rollout.stable)
        )
    except ChainError:
        return None
    return canary, stable


def _interval(world: World, name: str) -> float:
    document = world.policies.get((KIND.name, name))
    spec = document.spec if document is not None else None
    return spec.interval if isinstance(spec, RolloutSpec) else _INTERVAL


def _calls(snapshot: Snapshot | None, clusters: Sequence[str]) -> bool:
    held = snapshot.get(CLUSTER, ()) if snapshot is not None else ()
    for name in clusters:
        at = bisect_left(held, name, key=lambda one: one.name)
        if at < len(held) and held[at].name == name:
            return True
    return False


def _place(proxy: Connected) -> str:
    """Return where the proxy's agent is asked; empty if nowhere."""
    place = proxy.need.metrics
    if not place.startswith(":"):
        return place
    host = proxy.address.rpartition(":")[0]
    return f"{host}{place}"


def _steady(proxy: Connected) -> bytes:
    """Order proxies by chance, and always the same."""
    return hashlib.blake2b(proxy.node.encode(), digest_size=8).digest()
