"""What several zones cost: calls across a gateway, news from another zone, and knowing ten of them.

``python -m tests.bench.bench_zones``, or with ``--only hops,pair,knowledge`` some of it:

- ``hops``: a zone's gateway beside a plain TCP proxy (CPU and latency);
- ``pair``: two federated zones, where a service comes, and instances die under load;
- ``knowledge``: a control plane that knows ten zones of 500 services, or its own alone.

Everything is on loopback, and nothing needs root.  Each figure stands beside a floor of the same
run.  What does not work ends the bench with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp

from mesh.clients.consul import ConsulError
from mesh.demo.loopback import HOST
from mesh.demo.processes import ProcessError
from tests.bench.driver import FleetError
from tests.bench.report import Figure, publish
from tests.bench.zone import BenchError
from tests.bench.zones import arrival, death, hops, knowledge
from tests.bench.zones.generator import BurstError
from tests.bench.zones.pair import pair

PARTS: Final = ("hops", "pair", "knowledge")
_WHOLE_BENCH: Final = 240.0


async def two_zones(directory: Path) -> list[Figure]:
    """Measure what two federated zones do."""
    async with pair(directory) as found:
        for service in (arrival.SERVICE, death.SERVICE):
            await found.speaks_http(service)
        near = await found.caller(found.a, arrival.SERVICE)
        far = await found.caller(found.b, arrival.SERVICE, death.SERVICE)
        await asyncio.gather(found.a.ready(), found.b.ready())
        urls = {
            zone: f"http://{HOST}:{caller.upstreams[arrival.SERVICE]}/"
            for zone, caller in (("a", near), ("b", far))
        }
        # First what instances there are: a zone that has nothing left is not believed at once.
        figures = await death.measure(found, f"http://{HOST}:{far.upstreams[death.SERVICE]}/")
        return figures + await arrival.measure(found, urls)


async def bench(parts: Sequence[str], directory: Path) -> list[Figure]:
    """Measure ``parts``, one after the other."""
    measures = {"hops": hops.measure, "pair": two_zones, "knowledge": knowledge.measure}
    figures: list[Figure] = []
    for part in parts:
        began = time.monotonic()
        place = directory / part
        place.mkdir()
        figures += await measures[part](place)
        sys.stderr.write(f"{part} took {time.monotonic() - began:.0f} s\n")
    return figures


async def _bounded(parts: Sequence[str], directory: Path) -> list[Figure]:
    running = asyncio.current_task()
    if running is not None:
        # Ended from outside, the bench still ends what it started.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        async with asyncio.timeout(_WHOLE_BENCH) as limit:
            return await bench(parts, directory)
    except TimeoutError as error:
        if not limit.expired():
            raise
        why = f"not done after {_WHOLE_BENCH:.0f} s: is the machine busy? Try --only, part by part"
        raise BenchError(why) from error


def _parse(arguments: list[str] | None) -> list[str]:
    parser = argparse.ArgumentParser(prog="bench_zones", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    chosen = parser.parse_args(arguments).only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return [part for part in PARTS if part in chosen]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parts = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-zones-") as directory:
        try:
            figures = asyncio.run(_bounded(parts, Path(directory)))
        except (
            BenchError,
            BurstError,
            ConsulError,
            FleetError,
            ProcessError,
            TimeoutError,
            aiohttp.ClientError,
        ) as error:
            sys.stderr.write(f"bench zones failed: {type(error).__name__}: {error}\n")
            return 1
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    publish(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
