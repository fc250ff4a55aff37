"""What it costs a control plane to know nine other zones: memory, and CPU by change.

The real ``mesh zone`` on a real Consul, first with its own services alone, then started again with
the others' records in its KV store.  One simulated proxy is subscribed to a service of every zone;
the time of a change runs from the beginning of its write to the proxy's acknowledgement.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from mesh.aio.clock import SystemClock
from mesh.clients.consul import ConsulClient
from mesh.controlplane import vips
from mesh.demo.estate import TRUST_DOMAIN, Estate
from mesh.demo.processes import Child
from mesh.envoy.resource import ENDPOINTS
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.sources.zones import document, record
from tests import realconsul
from tests.bench.driver import Expected, FleetProcess
from tests.bench.process import cpu, rss
from tests.bench.report import Figure, Params, quantile
from tests.bench.shape import ZONE
from tests.bench.zone import BenchError, Zone, issue
from tests.bench.zones import estate as told
from tests.bench.zones.pair import until

CHANGES: Final = 50
_WRITERS: Final = 8
_CALLER: Final = "caller"
_FIRST_BIND: Final = 9_001
_UP_WITHIN: Final = 30.0
_LEARNT_WITHIN: Final = 90.0
_CHANGE_WITHIN: Final = 10.0
_PAUSE: Final = 0.05
"""Between changes, so that each finds a quiet zone."""
_QUIET: Final = 0.5
_QUIET_SHARE: Final = 0.1
_PATIENCE: Final = 20
_IDLE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """One write, and the service whose endpoints follow."""

    service: str
    write: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Series:
    """What some changes took: latencies in seconds, CPU seconds in all."""

    latencies: list[float] = field(default_factory=list)
    cpu: float = 0.0


@dataclass(slots=True)
class Running:
    """The control plane with its registry and its one proxy.

    ``learning`` is how many seconds passed from its start until everything had been done with what
    it found, and ``learning_cpu`` how many it worked.
    """

    estate: Estate
    consul: ConsulClient
    fleet: FleetProcess
    learning: float = 0.0
    learning_cpu: float = 0.0

    @property
    def process(self) -> Child:
        """The control plane's."""
        if self.estate.zone is None:
            raise BenchError("the control plane has not been started")
        return self.estate.zone


async def measure(directory: Path) -> list[Figure]:
    """Measure with and without other zones."""
    async with Estate(directory) as estate:
        await estate.start_consul(str(realconsul.binary()))
        async with estate.client() as consul:
            await _register(consul)
            async with _running(estate, consul) as alone:
                alone_rss = rss(alone.process.pid)
                alone_series = await _series(alone, _own_changes(consul))
            await _write_records(estate, consul)
            async with _running(estate, consul) as knowing:
                knowing_rss = rss(knowing.process.pid)
                idle = await _idle(knowing)
                series = await _series(knowing, _record_changes(estate, consul))
                own = await _series(knowing, _own_changes(consul))
    size = {"services": told.SERVICES}
    alone_params: Params = {"zones": 1, **size}
    params: Params = {"zones": told.ZONES, **size}
    more = knowing_rss - alone_rss
    services = (told.ZONES - 1) * told.SERVICES
    return [
        Figure("zones", "zones_rss_floor_mb", alone_rss / 1024, "MB", alone_params),
        Figure("zones", "zones_rss_mb", knowing_rss / 1024, "MB", params),
        Figure("zones", "zones_rss_more_mb", more / 1024, "MB", params),
        Figure("zones", "zones_rss_per_service_kb", more / services, "KB", params),
        *_learning(knowing, params),
        *_learning(alone, alone_params),
        Figure("zones", "zones_idle_cpu_ms_per_s", idle / _IDLE * 1e3, "ms", params),
        *_of(series, {**params, "change": "record"}),
        *_of(own, {**params, "change": "own"}),
        *_of(alone_series, {**alone_params, "change": "own"}),
    ]


def _learning(running: Running, params: Params) -> list[Figure]:
    return [
        Figure("zones", "zones_learning_s", running.learning, "s", params),
        Figure("zones", "zones_learning_cpu_s", running.learning_cpu, "s", params),
    ]


def _of(series: Series, params: Params) -> list[Figure]:
    count = len(series.latencies)
    counted = {**params, "changes": count}
    return [
        Figure("zones", "zones_cpu_per_change_ms", series.cpu / count * 1e3, "ms", counted),
        *(
            Figure(
                "zones",
                f"zones_change_to_proxy_ms_{label}",
                quantile(series.latencies, share) * 1e3,
                "ms",
                counted,
            )
            for label, share in (("p50", 0.5), ("p99", 0.99))
        ),
    ]


async def _register(consul: ConsulClient) -> None:
    entries = told.own()

    async def write() -> None:
        for entry in entries:
            await consul.catalog_register(entry)

    await asyncio.gather(*(write() for _ in range(_WRITERS)))


async def _write_records(estate: Estate, consul: ConsulClient) -> None:
    for zone in told.others():
        await _put(estate, consul, zone, is_down=False)


async def _put(estate: Estate, consul: ConsulClient, zone: str, *, is_down: bool) -> None:
    found = told.record(
        zone,
        SystemClock().now(),
        trust_domain=TRUST_DOMAIN,
        bundle=estate.bundle_file.read_text(),
        is_down=is_down,
    )
    await consul.kv_put(record.PREFIX + zone, found.encode())


@asynccontextmanager
async def _running(estate: Estate, consul: ConsulClient) -> AsyncIterator[Running]:
    """Start the control plane, wait until it has published everything, and connect the proxy."""
    began = time.monotonic()
    await estate.start_zone()
    plan = await _plan(estate)
    try:
        async with FleetProcess(plan) as fleet:
            found = Running(estate, consul, fleet)
            await until("the zone's own services are published", partial(_published, consul))
            await fleet.up(_UP_WITHIN)
            every = await _every_service(consul)
            # Each service of whatever zone gets a virtual address, one after the other.
            await until(
                f"{every} services have virtual addresses",
                partial(_have_addresses, consul, every),
                patience=_LEARNT_WITHIN,
            )
            found.learning = time.monotonic() - began
            await _quiet(found.process)
            found.learning_cpu = cpu(found.process.pid)
            yield found
    finally:
        if estate.zone is not None:
            await estate.zone.stop()


async def _published(consul: ConsulClient) -> bool:
    held = (await consul.kv_get(document.PREFIX + ZONE)).value
    if held is None:
        return False
    zone = document.parse(held.data, held.key).zone
    return (len(zone.gateways), len(zone.services)) == (told.GATEWAYS, told.SERVICES)


async def _every_service(consul: ConsulClient) -> int:
    """Return how many services there are, in all zones that are known."""
    held = (await consul.kv_list(record.PREFIX)).value
    known = {name for pair in held for name in record.parse(pair.data, pair.key).zone.services}
    return len(known | set(told.services(ZONE)))


async def _have_addresses(consul: ConsulClient, services: int) -> bool:
    return len((await consul.kv_list(vips.PREFIX)).value) >= services


async def _plan(estate: Estate) -> Path:
    directory = estate.directory / "svids"
    directory.mkdir(exist_ok=True)
    files = await issue(estate.directory / "zone" / "ca", [_CALLER], directory)
    certificate, key = files[_CALLER]
    names = [told.only_in(zone) for zone in (ZONE, *told.others())]
    upstreams = tuple(Upstream(name, _FIRST_BIND + place) for place, name in enumerate(names))
    need = ProxyNeed(_CALLER, ZONE, Inbound("127.0.0.1", 15_006, "127.0.0.1", 8080), upstreams)
    address, _, port = estate.zone_xds.rpartition(":")
    member = {"certificate": certificate, "key": key, "need": need.to_metadata()}
    plan = {
        "host": address,
        "port": int(port),
        "server_name": Zone.identity.server_name,
        "bundle": str(estate.bundle_file),
        "proxies": [member],
    }
    file = estate.directory / "plan.json"
    file.write_text(json.dumps(plan))
    return file


def _record_changes(estate: Estate, consul: ConsulClient) -> list[Change]:
    """Return the changes of the others' records: in turn nobody answers there, then all again."""
    return [
        Change(told.only_in(zone), partial(_put, estate, consul, zone, is_down=down))
        for zone, down in turns(told.others())
    ]


def _own_changes(consul: ConsulClient) -> list[Change]:
    return [
        Change(told.only_in(ZONE), partial(consul.catalog_register, told.own_check(is_down=down)))
        for _, down in turns([ZONE])
    ]


def turns(zones: Sequence[str]) -> list[tuple[str, bool]]:
    """Return each zone that changes, one after the other, and whether nobody answers there then."""
    return list(islice(cycle([(zone, down) for down in (True, False) for zone in zones]), CHANGES))


async def _series(running: Running, changes: Sequence[Change]) -> Series:
    found = Series()
    before = cpu(running.process.pid)
    for change in changes:
        expected = Expected(ENDPOINTS, change.service, [0])
        watched = await running.fleet.arm([expected], _CHANGE_WITHIN)
        began = time.monotonic()
        await change.write()
        found.latencies.append(await running.fleet.reached(watched, _CHANGE_WITHIN) - began)
        await asyncio.sleep(_PAUSE)
    await _quiet(running.process)
    found.cpu = cpu(running.process.pid) - before
    return found


async def _idle(running: Running) -> float:
    before = cpu(running.process.pid)
    await asyncio.sleep(_IDLE)
    return cpu(running.process.pid) - before


async def _quiet(process: Child) -> None:
    """Wait until a process has nothing to do, for a bounded time."""
    used = cpu(process.pid)
    for _ in range(_PATIENCE):
        await asyncio.sleep(_QUIET)
        process.check()
        before, used = used, cpu(process.pid)
        if used - before < _QUIET * _QUIET_SHARE:
            return
