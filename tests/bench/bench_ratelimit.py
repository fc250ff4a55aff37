"""How many questions one instance of the rate limit service answers, and what each costs.

``python -m tests.bench.bench_ratelimit --requests 2000 --concurrency 16``: a real service in a
process of its own, counting in memory and then in a real Redis, asked by as many callers at once
as ``--concurrency`` says, each of whom waits for his answer before he asks again.  A service is
one process on one core, so the rate that a core can bear is one second over the CPU time of a
request; the rate measured is lower where the callers or Redis share the core.

A request that is not answered, or that is refused below its limit, ends the bench with exit
code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from mesh.config.types import HostPort
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import Child, ProcessError, start
from tests.bench import process
from tests.bench.report import Figure, publish, quantile
from tests.ratelimit.asking import OK, Client, Redis, descriptor

_WHOLE_BENCH: Final = 180.0
_WARM_UP: Final = 200
_USERS: Final = 1_000
"""Counters that requests are spread over."""
_LIMIT: Final = 1_000_000_000
_CONNECTIONS: Final = 2


class BenchError(Exception):
    """An answer was not what it had to be."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked."""

    requests: int
    concurrency: int


@asynccontextmanager
async def service(directory: Path, *options: str) -> AsyncIterator[tuple[Child, HostPort]]:
    """Run an instance with ``options`` until the block ends."""
    place, health = (HostPort(HOST, port) for port in free_ports(2))
    listen = ("--listen", str(place), "--health-listen", str(health))
    command = [sys.executable, "-m", "mesh.cli", "ratelimit", "run", *listen, *options]
    if options:
        # A busy machine is a slow answer, not a failed one.
        environment = {"HOME": str(directory), "MESH_RATELIMIT__REDIS__TIMEOUT": "5s"}
    else:
        environment = {"HOME": str(directory)}
    child = await start("ratelimit", command, log=directory / "log", environment=environment)
    try:
        await child.answers(f"http://{health}/ready")
        yield child, place
    finally:
        await child.stop()


async def measure(
    child: Child, place: HostPort, load: Load, limits: int, params: dict[str, str | int | float]
) -> list[Figure]:
    """Ask, each request about ``limits`` limits, and return the figures."""
    clients = [Client(place) for _ in range(_CONNECTIONS)]
    numbers = itertools.count()
    took: list[float] = []

    async def ask(client: Client, until: int) -> None:
        while (number := next(numbers)) < until:
            began = time.perf_counter()
            answer = await client.ask(*_descriptors(number, limits))
            took.append(time.perf_counter() - began)
            if answer.overall_code != OK:
                raise BenchError(f"refused below its limit: {answer}")

    async def all_ask(until: int) -> None:
        callers = (ask(clients[each % len(clients)], until) for each in range(load.concurrency))
        await asyncio.gather(*callers)

    try:
        await all_ask(_WARM_UP)
        numbers = itertools.count()
        took.clear()
        cpu, began = process.cpu(child.pid), time.perf_counter()
        await all_ask(load.requests)
        elapsed, cpu = time.perf_counter() - began, process.cpu(child.pid) - cpu
    finally:
        for client in clients:
            await client.__aexit__()
    return [
        Figure("ratelimit", "rate", load.requests / elapsed, "requests/s", params),
        Figure("ratelimit", "cpu_per_request", cpu / load.requests * 1e6, "us", params),
        Figure("ratelimit", "latency_p50", quantile(took, 0.5) * 1e3, "ms", params),
        Figure("ratelimit", "latency_p99", quantile(took, 0.99) * 1e3, "ms", params),
    ]


async def bench(load: Load, directory: Path) -> list[Figure]:
    """Measure both places of counters, with one limit and with two."""
    redis = Redis(directory)
    figures = []
    try:
        await redis.start()
        for where, options in (("memory", ()), ("redis", ("--redis-url", redis.url))):
            async with service(directory, *options) as (child, place):
                for limits in (1, 2):
                    params: dict[str, str | int | float] = {
                        "counters": where,
                        "limits": limits,
                        "concurrency": load.concurrency,
                    }
                    figures += await measure(child, place, load, limits, params)
    finally:
        await redis.kill()
    return figures


def _descriptors(number: int, limits: int) -> Sequence[Any]:
    user = descriptor(("user", str(number % _USERS)), limit=_LIMIT)
    return [user, descriptor(("all", ""), limit=_LIMIT)][:limits]


def _parse(arguments: list[str] | None) -> Load:
    parser = argparse.ArgumentParser(prog="bench_ratelimit", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2_000, help="of each measurement")
    parser.add_argument("--concurrency", type=int, default=16, help="callers at once")
    options = parser.parse_args(arguments)
    if options.requests < 1 or options.concurrency < 1:
        parser.error("at least 1 request and 1 caller are needed")
    return Load(options.requests, options.concurrency)


async def _bounded(load: Load, directory: Path) -> list[Figure]:
    async with asyncio.timeout(_WHOLE_BENCH):
        return await bench(load, directory)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    load = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-ratelimit-") as directory:
        try:
            figures = asyncio.run(_bounded(load, Path(directory)))
        except (BenchError, ProcessError, TimeoutError, grpc.aio.AioRpcError) as error:
            sys.stderr.write(f"bench ratelimit failed: {type(error).__name__}: {error}\n")
            return 1
    publish(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
