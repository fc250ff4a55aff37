"""What a zone's gateway costs: CPU by request and by connection, and time on the way.

In the same run as, turn and turn about with, an Envoy that forwards bytes and does nothing else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from cryptography.hazmat.primitives import serialization

from mesh.agent.envoy_process import find_envoy
from mesh.ca.builtin import builtin_issuer
from mesh.ca.certificates import new_key
from mesh.ca.csr import CheckedCsr
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import Child, start
from mesh.model.identity import WorkloadId
from tests.bench.process import cpu
from tests.bench.report import TIMES, Figure, Params
from tests.bench.zones import envoys
from tests.bench.zones.generator import Burst, Generator

HOPS: Final = ("gateway", "plain")
NONE: Final = "none"
_ONCE: Final = "-once"
_WARM_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Round:
    """A burst by way of one hop, and the CPU seconds that the hop used (0: there was none)."""

    burst: Burst
    cpu: float

    @property
    def cost(self) -> float:
        """CPU microseconds by request."""
        return self.cpu / self.burst.requests * 1e6


@dataclass(frozen=True, slots=True)
class Chain:
    """The running Envoys: where to ask for each way, and the hops' processes."""

    urls: Mapping[str, str]
    hops: Mapping[str, Child]


@dataclass(slots=True)
class Rounds:
    """All rounds of one load, by hop."""

    of: dict[str, list[Round]] = field(default_factory=dict)

    def cost(self, hop: str) -> float:
        """Return the median of CPU microseconds by request."""
        return median(one.cost for one in self.of[hop])

    def ratios(self) -> list[float]:
        """Return, round by round, the gateway's CPU by request in that of the plain proxy."""
        ours, theirs = (self.of[hop] for hop in HOPS)
        return [one.cost / other.cost for one, other in zip(ours, theirs, strict=True)]

    def latency(self, hop: str, share: str) -> float:
        """Return the median of ``p50`` or ``p99``, in microseconds."""
        bursts = [one.burst for one in self.of[hop]]
        return median(one.p50 if share == "p50" else one.p99 for one in bursts)

    def rate(self, hop: str) -> float:
        """Return the median of requests a second."""
        return median(one.burst.requests / one.burst.seconds for one in self.of[hop])


@dataclass(frozen=True, slots=True)
class Load:
    """How a way is asked: by so many connections, for so many seconds, so often."""

    connections: int
    ways: Sequence[str]
    rounds: int = 4
    seconds: int = 2

    def params(self, generator: Generator) -> Params:
        """Return what figures say of it."""
        return {
            "connections": self.connections,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "generator": generator.name,
        }


QUIET: Final = Load(1, (*HOPS, NONE), rounds=3, seconds=1)
FEW: Final = Load(16, (*HOPS, NONE))
MANY: Final = Load(64, HOPS)
ANEW: Final = Load(16, [hop + _ONCE for hop in HOPS])
"""A connection for each request, from the front on."""


async def measure(directory: Path) -> list[Figure]:
    """Measure everything below ``directory``; a minute and a half."""
    generator = Generator(directory)
    figures = []
    async with chain(directory) as running:
        for load in (FEW, MANY):
            found = await _rounds(running, generator, load)
            figures += cpu_figures("gateway", "request", found, load.params(generator))
            figures += latency_figures(found, load.params(generator))
        found = await _rounds(running, generator, ANEW)
        anew = Rounds({hop: found.of[hop + _ONCE] for hop in HOPS})
        figures += cpu_figures("gateway_connection", "connection", anew, ANEW.params(generator))
        found = await _rounds(running, generator, QUIET)
        figures += latency_figures(found, QUIET.params(generator))
    return figures


def cpu_figures(name: str, unit: str, found: Rounds, params: Params) -> list[Figure]:
    """Return what a request or a connection costs, with the spread of the ratio."""
    ratios = found.ratios()
    spread = {**params, "lowest": round(min(ratios), 3), "highest": round(max(ratios), 3)}
    return [
        Figure("zones", f"{name}_cpu_ratio", median(ratios), TIMES, spread),
        *(
            Figure(
                "zones",
                f"{hop}_cpu_per_{unit}_us",
                found.cost(hop),
                "us",
                {**params, "rate": round(found.rate(hop))},
            )
            for hop in HOPS
        ),
    ]


def latency_figures(found: Rounds, params: Params) -> list[Figure]:
    """Return by how much answers come later through the gateway, and what they take without."""
    figures = [
        Figure(
            "zones",
            f"gateway_added_latency_us_{share}",
            found.latency("gateway", share) - found.latency(other, share),
            "us",
            {**params, "against": other},
        )
        for other in ("plain", NONE)
        if other in found.of
        for share in ("p50", "p99")
    ]
    if NONE not in found.of:
        return figures
    figures += [
        Figure("zones", f"no_hop_latency_us_{share}", found.latency(NONE, share), "us", params)
        for share in ("p50", "p99")
    ]
    return figures


@asynccontextmanager
async def chain(directory: Path) -> AsyncIterator[Chain]:
    """Run the Envoys, and wait until every way through them is open."""
    identities = await _identities(directory, ("front", envoys.SERVICE))
    ways = (*HOPS, NONE)
    back, *rest = free_ports(1 + len(HOPS) + 2 * len(ways))
    listens = dict(zip(HOPS, rest, strict=False))
    fronts = rest[len(HOPS) :]
    dialled = {**listens, NONE: back}
    kept = {way: (fronts.pop(), dialled[way]) for way in ways}
    once = {way + _ONCE: (fronts.pop(), dialled[way]) for way in ways}
    configs = {
        "back": envoys.back(identities[envoys.SERVICE], back),
        "plain": envoys.plain(listens["plain"], back),
        "gateway": envoys.gateway(listens["gateway"], back, directory / "gateway.admin"),
        "front": envoys.front(identities["front"], kept, once),
    }
    all_ways = {**kept, **once}
    urls = {way: f"http://{HOST}:{listen}/" for way, (listen, _) in all_ways.items()}
    async with AsyncExitStack() as stack:
        running = {}
        for called, config in configs.items():
            running[called] = await _envoy(directory, called, config)
            stack.push_async_callback(running[called].stop)
        for way, url in urls.items():
            hop = running[way.removesuffix(_ONCE)] if way.startswith(HOPS) else running["back"]
            await hop.answers(url)
        yield Chain(urls, {hop: running[hop] for hop in HOPS})


async def _rounds(running: Chain, generator: Generator, load: Load) -> Rounds:
    for way in load.ways:
        await generator.burst(running.urls[way], load.connections, _WARM_UP)
    found = Rounds({way: [] for way in load.ways})
    for number in range(load.rounds):
        # What comes first may find the machine otherwise than what comes second.
        for way in load.ways if number % 2 else reversed(load.ways):
            hop = running.hops.get(way.removesuffix(_ONCE))
            before = cpu(hop.pid) if hop else 0.0
            burst = await generator.burst(running.urls[way], load.connections, load.seconds)
            used = cpu(hop.pid) - before if hop else 0.0
            found.of[way].append(Round(burst, used))
    return found


async def _envoy(directory: Path, called: str, config: Mapping[str, Any]) -> Child:
    file = directory / f"{called}.json"
    # As agents start it, but for the one thread: all hops are to be alike.
    file.write_text(json.dumps(config))
    command = [str(find_envoy(None)), "-c", str(file), "--concurrency", "1"]
    command += ["--log-level", "warning", "--use-dynamic-base-id"]
    return await start(called, command, log=directory / f"{called}.log", environment={})


async def _identities(directory: Path, services: Sequence[str]) -> dict[str, envoys.Identity]:
    issuer = builtin_issuer(directory / "ca", envoys.ZONE)
    await issuer.start()
    bundle = directory / "bundle.pem"
    found = {}
    try:
        bundle.write_text(issuer.bundle().pem)
        for service in services:
            key = new_key()
            who = WorkloadId(envoys.ZONE.trust_domain, envoys.ZONE.zone, service)
            issued = await issuer.sign(CheckedCsr(who, key.public_key(), ""), timedelta(hours=1))
            one = envoys.Identity(
                bundle, directory / f"{service}.pem", directory / f"{service}.key"
            )
            one.certificate.write_text(issued.chain_pem)
            one.key.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            found[service] = one
    finally:
        await issuer.close()
    return found
