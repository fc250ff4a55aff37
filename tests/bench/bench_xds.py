"""How fast a zone tells a thousand proxies, and what that costs.

``python -m tests.bench.bench_xds --proxies 1000 --services 1000 --instances 10``: a real zone on
its embedded registry, a simulated fleet in a process of its own, and changes written to the
registry one at a time, each of which must reach exactly the proxies that it concerns.  Times run
from the beginning of the write to the last acknowledgement.  The floor is the same kind of write
and a plain blocking query that waits for it: what the registry and HTTP cost without a mesh.

Last, the pure core makes the same estate's configuration by itself (``bench_render``).

A proxy that is not given what it must be given ends the bench with exit code 1.
``--profile time|memory`` tells where a zone's time or memory goes, and spoils the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mesh.clients.consul import ConsulClient, ConsulError
from mesh.demo.processes import ProcessError
from mesh.model.services import Health
from tests.bench.bench_render import measure as measure_rendering
from tests.bench.changes import (
    Change,
    entry_changes,
    instance_changes,
    intention_changes,
    policy_changes,
)
from tests.bench.driver import FleetError, FleetProcess
from tests.bench.report import Figure, publish, quantile
from tests.bench.shape import Shape, Size, check, host, registration
from tests.bench.zone import BenchError, Zone, fill, issue

INSTANCE_CHANGES: Final = 50
INTENTION_CHANGES: Final = 20
ROUTE_CHANGES: Final = 20
"""Of each kind: by policy and by entry."""
_SERIES: Final = (
    ("instance", instance_changes, INSTANCE_CHANGES),
    ("intention", intention_changes, INTENTION_CHANGES),
    ("policy_route", policy_changes, ROUTE_CHANGES),
    ("entry_route", entry_changes, ROUTE_CHANGES),
)
_FLOOR_CHANGES: Final = 20
_FLOOR_SERVICE: Final = "floor"
_UP_WITHIN: Final = 120.0
_CHANGE_WITHIN: Final = 10.0
_WHOLE_BENCH: Final = 600.0
_PAUSE: Final = 0.1
"""Between changes, so that each finds a quiet zone."""
_LOOK_EVERY: Final = 0.5
_IDLE_SHARE: Final = 0.1
_PATIENCE: Final = 40


@dataclass(slots=True)
class Measured:
    """What a series of changes took."""

    latencies: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    reached: int = 0
    cpu: float = 0.0
    responses: int = 0
    received: int = 0
    fleet_cpu: float = 0.0


class Bench:
    """One run."""

    def __init__(self, size: Size, directory: Path, profile: tuple[str, Path] | None) -> None:
        """Measure an estate of ``size`` below ``directory``."""
        self._size = size
        self._directory = directory
        self._profile = profile
        self._params = asdict(size)
        self.figures: list[Figure] = []

    async def run(self) -> None:
        """Measure everything."""
        shape = Shape(self._size)
        async with Zone(self._directory, self._profile) as zone:
            await self._prepare(zone, shape)
            rss_before = zone.rss()
            zone.mark()
            async with (
                FleetProcess(self._directory / "plan.json") as fleet,
                zone.client() as client,
            ):
                fleet_before, cpu_before = await fleet.stats(), zone.cpu()
                up = await fleet.up(_UP_WITHIN)
                stats = await fleet.stats()
                self._figure("fleet_up", up["seconds"], "s")
                self._figure("fleet_up_cpu", zone.cpu() - cpu_before, "s")
                self._figure("fleet_up_fleet_cpu", stats["cpu"] - fleet_before["cpu"], "s")
                self._figure("fleet_up_bytes", stats["received"], "B")
                await _quiet(zone)
                rss = zone.rss()
                zone.mark()
                await _quiet(zone)
                self._figure("zone_rss_before", rss_before, "KB")
                self._figure("zone_rss_up", rss, "KB")
                self._figure("zone_rss_per_proxy", (rss - rss_before) / up["proxies"], "KB")
                # Traced, a zone is too slow to be measured any further.
                if self._profile is None or self._profile[0] == "time":
                    await self._changes(zone, fleet, shape, client)

    async def _prepare(self, zone: Zone, shape: Shape) -> None:
        async with zone.client() as client:
            began = time.monotonic()
            await fill(client, shape)
            _say(f"registry filled in {time.monotonic() - began:.1f} s")
        await zone.restart()
        callers = [one for one in shape.services.values() if one.proxies]
        svids = self._directory / "svids"
        svids.mkdir(mode=0o700)
        files = await issue(zone.ca, (one.name for one in callers), svids)
        members: list[dict[str, Any]] = [{} for _ in range(self._size.proxies)]
        for service in callers:
            certificate, key = files[service.name]
            need = shape.need(service).to_metadata()
            for number in service.proxies:
                members[number] = {"certificate": certificate, "key": key, "need": need}
        host_name, port = zone.xds
        plan = {
            "host": host_name,
            "port": port,
            "server_name": zone.identity.server_name,
            "bundle": str(zone.bundle),
            "proxies": members,
        }
        (self._directory / "plan.json").write_text(json.dumps(plan))
        await _quiet(zone)

    async def _changes(
        self, zone: Zone, fleet: FleetProcess, shape: Shape, client: ConsulClient
    ) -> None:
        series: dict[str, Measured] = {}
        for name, changes, count in _SERIES:
            series[name] = await _measure(zone, fleet, changes(shape, client, count))
            zone.mark()
        floor = await _floor(shape, client)
        for name, one in series.items():
            self._latencies(f"{name}_change", one.latencies)
            self._figure(f"{name}_write_p50", quantile(one.writes, 0.5) * 1000, "ms")
            self._figure(f"{name}_cpu_per_push", one.cpu / one.reached * 1e6, "us")
            self._figure(f"{name}_cpu_per_change", one.cpu / len(one.latencies) * 1e3, "ms")
            self._figure(f"{name}_reached", one.reached / len(one.latencies), "proxies")
            self._figure(f"{name}_responses", one.responses / one.reached, "responses")
        routes = [*series["policy_route"].latencies, *series["entry_route"].latencies]
        self._latencies("route_change", routes)
        both = (series["instance"], series["intention"])
        reached = sum(one.reached for one in both)
        count = sum(len(one.latencies) for one in both)
        self._figure("zone_cpu_per_push", sum(one.cpu for one in both) / reached * 1e6, "us")
        self._figure("bytes_per_change", sum(one.received for one in both) / count, "B")
        self._latencies("floor", floor)

    def _latencies(self, name: str, seconds: list[float]) -> None:
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            self._figure(f"{name}_{label}", quantile(seconds, share) * 1000, "ms")

    def _figure(self, metric: str, value: float, unit: str) -> None:
        self.figures.append(Figure("xds", metric, value, unit, self._params))


async def _measure(zone: Zone, fleet: FleetProcess, changes: Iterable[Change]) -> Measured:
    found = Measured()
    before, cpu = await fleet.stats(), zone.cpu()
    for change in changes:
        watched = await fleet.arm(change.expected, _CHANGE_WITHIN)
        began = time.monotonic()
        await change.write()
        found.writes.append(time.monotonic() - began)
        found.latencies.append(await fleet.reached(watched, _CHANGE_WITHIN) - began)
        found.reached += change.reaches
        await asyncio.sleep(_PAUSE)
    after = await fleet.stats()
    if after["connected"] != before["connected"]:
        raise FleetError(f"proxies were lost during the changes: {before}, then {after}")
    found.cpu = zone.cpu() - cpu
    found.responses = after["responses"] - before["responses"]
    found.received = after["received"] - before["received"]
    found.fleet_cpu = after["cpu"] - before["cpu"]
    return found


async def _floor(shape: Shape, client: ConsulClient) -> list[float]:
    """Return how long a plain blocking query takes to hear of a check that changed."""
    instance = shape.new_instance(_FLOOR_SERVICE)
    await client.txn([host(instance), *registration(_FLOOR_SERVICE, instance)])
    index = (await client.health_connect(_FLOOR_SERVICE)).index
    found = []
    healths = (Health.CRITICAL, Health.PASSING)

    async def wait() -> tuple[int, float]:
        answer = await client.health_connect(_FLOOR_SERVICE, index=index, wait=_CHANGE_WITHIN)
        return answer.index, time.monotonic()

    async def write(health: Health) -> float:
        await asyncio.sleep(_PAUSE)
        began = time.monotonic()
        await client.txn([check(_FLOOR_SERVICE, replace(instance, health=health))])
        return began

    for number in range(_FLOOR_CHANGES):
        (index, woke), began = await asyncio.gather(wait(), write(healths[number % len(healths)]))
        found.append(woke - began)
    return found


async def _quiet(zone: Zone) -> None:
    """Wait until the zone has nothing to do, for a bounded time."""
    used = zone.cpu()
    for _ in range(_PATIENCE):
        await asyncio.sleep(_LOOK_EVERY)
        zone.check()
        before, used = used, zone.cpu()
        if used - before < _LOOK_EVERY * _IDLE_SHARE:
            return


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_xds", description=__doc__.partition("\n")[0])
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=10, help="of each service")
    parser.add_argument("--upstreams", type=int, default=20, help="of each service")
    parser.add_argument("--http-share", type=float, default=0.5, help="of services, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", choices=("time", "memory"), help="spoils the figures")
    parser.add_argument("--profile-dir", type=Path, default=Path("profile"))
    options = parser.parse_args(arguments)
    if min(options.proxies, options.upstreams) < 1 or min(options.services, options.instances) < 2:
        parser.error("at least 1 proxy, 1 upstream, 2 services and 2 instances are needed")
    if not 0 <= options.http_share <= 1:
        parser.error("--http-share is a share: 0 to 1")
    return options


async def _bounded(bench: Bench) -> None:
    running = asyncio.current_task()
    if running is not None:
        # Ended from outside, the bench still ends what it started.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    async with asyncio.timeout(_WHOLE_BENCH):
        await bench.run()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parse(arguments)
    # Each proxy is a socket in two processes, each watch two in one.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    size = Size(
        options.proxies,
        options.services,
        options.instances,
        options.upstreams,
        options.http_share,
        options.seed,
    )
    profile = None
    if options.profile:
        options.profile_dir.mkdir(parents=True, exist_ok=True)
        profile = options.profile, options.profile_dir.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-xds-") as directory:
        bench = Bench(size, Path(directory), profile)
        try:
            asyncio.run(_bounded(bench))
            figures = bench.figures
            if profile is None:
                # When nothing else runs any more.
                core = replace(size, proxies=size.services, http_share=1.0)
                figures += measure_rendering(core)
        except (BenchError, ConsulError, FleetError, ProcessError, TimeoutError) as error:
            _say(f"bench xds failed: {type(error).__name__}: {error}")
            return 1
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    publish(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
