"""An instance dies while another zone calls it: until the other answers, and what is lost.

Two instances of a service in zone a, calls from zone b through a's gateway.  Connections stay where
they were once led, so one instance has most calls, or all: that one is killed, agent and Envoy, as
by a power cut, and started again at the same place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import aiohttp

from mesh.demo.estate import Service
from mesh.demo.loopback import HOST, free_ports
from mesh.model.names import SIDECAR_SUFFIX
from tests.bench.report import Figure, Params, quantile
from tests.bench.zone import BenchError
from tests.bench.zones.pair import Pair, until
from tests.zones.load import Call, Load

SERVICE: Final = "api"
INSTANCES: Final = ("api-1", "api-2")
ROUNDS: Final = 10
_RATE: Final = 250.0
_CALLERS: Final = 20
_MOST: Final = 1_000_000
_SECONDS: Final = 200.0
_WATCHED: Final = 1.5
"""Seconds after the kill in which gaps count: what starts afterwards takes the machine's CPU."""
_STEADY: Final = 0.5
"""Seconds in which every call was answered before the next is killed."""


@dataclass(frozen=True, slots=True)
class Death:
    """One round, in milliseconds after the kill."""

    to_other: float
    longest_gap: float
    failed: int
    last_failure: float
    """When the last call that failed had failed; 0 if none did."""


async def measure(pair: Pair, url: str) -> list[Figure]:
    """Kill and restart; ``url`` is where a caller in zone b calls the service."""
    (gateway,) = pair.a.services["gateway-1"].state.glob("envoy-*.sock")
    running = {name: await start(pair, name) for name in INSTANCES}
    await pair.a.ready(*INSTANCES)
    deaths = []
    # What the load says of itself is no figure.
    with contextlib.redirect_stdout(sys.stderr):
        async with Load(
            {SERVICE: url}, rate=_RATE, callers=_CALLERS, most=_MOST, seconds=_SECONDS
        ) as load:
            calls = load.calls[SERVICE].made

            async def steady() -> bool:
                recent = _since(calls, time.monotonic() - _STEADY)
                if not recent or not all(map(_passed, recent)):
                    return False
                return await _taken(gateway) >= {each.inbound_port for each in running.values()}

            await until("zone b's calls are answered, and may be by both", steady)
            calls.clear()
            began = time.monotonic()
            for _ in range(ROUNDS):
                await until("both instances may answer again", steady)
                victim = busiest(_since(calls, time.monotonic() - _STEADY))
                await pair.a.kill_proxy(running[victim])
                killed = time.monotonic()
                await asyncio.sleep(_WATCHED)
                deaths.append(judge(calls, killed, time.monotonic(), victim))
                running[victim] = await start(pair, victim, running[victim])
                await pair.a.ready(victim)
            elapsed = time.monotonic() - began
            made = list(calls)
    params: Params = {"rounds": ROUNDS, "rate": round(len(made) / elapsed), "callers": _CALLERS}
    return figures(deaths, made, params)


async def start(pair: Pair, name: str, before: Service | None = None) -> Service:
    """Start an instance with its application, or its proxy again where it stood ``before``."""
    if before is None:
        (port,) = free_ports(1)
        await pair.application(name, port)
        return await pair.a.start_proxy(SERVICE, app_port=port, instance=name)
    # Otherwise Consul would look at it every 10 s only, and a round would last as long.
    for each in (f"{name}{SIDECAR_SUFFIX}", name):
        await pair.consul_a.agent_deregister(each)
    # A token is good for one start.
    (pair.a.directory / f"{name}.join-token").unlink()
    place = {"inbound_port": before.inbound_port, "listen": f"{HOST}:{before.ready_port}"}
    return await pair.a.start_proxy(
        SERVICE, app_port=before.app_port, instance=name, settings=place
    )


def judge(calls: Sequence[Call], killed: float, until_: float, victim: str) -> Death:
    """Say what the death of ``victim`` did to ``calls``, up to ``until_``.

    Raises:
        BenchError: the dead one answered, or nobody else did.

    """
    after = [each for each in _since(calls, killed) if each.began < until_]
    passed = [each for each in after if _passed(each)]
    if any(each.zone == victim for each in passed):
        raise BenchError(f"{victim} answered after it was killed")
    if not passed:
        raise BenchError(f"nobody answered within {_WATCHED} s after {victim} was killed")
    # Those under way when it died count as well: they are what it took with it.
    around = [each for each in calls if each.began < until_ and each.began + each.took >= killed]
    failures = [each.began + each.took for each in around if not _passed(each)]
    good = sorted(each.began + each.took for each in around if _passed(each))
    moments = [killed, *good, max(until_, *good)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return Death(
        to_other=(min(each.began + each.took for each in passed) - killed) * 1e3,
        longest_gap=max(gaps) * 1e3,
        failed=len(failures),
        last_failure=max((each - killed for each in failures), default=0.0) * 1e3,
    )


def busiest(calls: Sequence[Call]) -> str:
    """Return who answered most of ``calls``."""
    return Counter(each.zone for each in calls).most_common(1)[0][0]


def figures(deaths: Sequence[Death], made: Sequence[Call], params: Params) -> list[Figure]:
    """Return what the rounds came to; ``made`` are all calls, of the restarts too."""
    found = []
    for name, values in (
        ("instance_death_to_other_ms", [each.to_other for each in deaths]),
        ("instance_death_longest_gap_ms", [each.longest_gap for each in deaths]),
        ("instance_death_last_failure_ms", [each.last_failure for each in deaths]),
    ):
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            found.append(Figure("zones", f"{name}_{label}", quantile(values, share), "ms", params))
    failed = sum(not _passed(each) for each in made)
    counts = (
        ("instance_death_calls", len(made)),
        ("instance_death_failed", failed),
        ("instance_death_failed_at_once", sum(each.failed for each in deaths)),
        ("instance_death_failed_most_in_a_round", max(each.failed for each in deaths)),
    )
    found += [Figure("zones", name, count, "calls", params) for name, count in counts]
    return found


def _passed(call: Call) -> bool:
    return call.outcome.startswith("2")


def _since(calls: Sequence[Call], moment: float) -> list[Call]:
    # The newest stand last, but for those that took long.
    return [each for each in calls[-round(_RATE * 10) :] if each.began >= moment]


async def _taken(admin: Path) -> set[int]:
    """Return the ports of the instances to which the gateway sends connections now."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin))) as session,
        session.get("http://gateway/clusters", params={"format": "json"}) as answer,
    ):
        found = json.loads(await answer.read())
    hosts = [host for each in found["cluster_statuses"] for host in each.get("host_statuses", ())]
    return {
        host["address"]["socket_address"]["port_value"]
        for host in hosts
        # Whatever else it may say there is why it is left out.
        if host["health_status"] == {"eds_health_status": "HEALTHY"}
    }
