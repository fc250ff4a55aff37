"""A service comes into zone a: until zone b can call it, and until zone a itself can.

Its proxy runs already and is registered by hand, so that what is measured begins when Consul has
accepted the registration.  Callers in both zones try all the time.  It is taken out again and
forgotten by both zones before the next round, so it is always new to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from mesh.demo.estate import Service
from mesh.demo.loopback import HOST, free_ports
from mesh.model.names import SIDECAR_SUFFIX
from tests.bench.report import Figure, Params, quantile
from tests.bench.zones.pair import Pair, until

SERVICE: Final = "fresh"
ROUNDS: Final = 15
_WITHIN: Final = 20.0
_CALLERS: Final = 2
"""In each zone, taking turns: one that waits for an answer must not hide the first success."""
_PAUSE: Final = 0.01
_WARM: Final = 0.2
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_OK: Final = 200


@dataclass(slots=True)
class Trying:
    """When each zone's callers had their first answer."""

    urls: Mapping[str, str]
    session: aiohttp.ClientSession
    first: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Try until every zone's callers were answered."""
        callers = [self._try(zone) for zone in self.urls for _ in range(_CALLERS)]
        await asyncio.gather(*callers)

    async def _try(self, zone: str) -> None:
        while zone not in self.first:
            began = time.monotonic()
            if await answers(self.session, self.urls[zone]):
                self.first.setdefault(zone, time.monotonic())
            else:
                self.refused[zone] = self.refused.get(zone, 0) + 1
            await asyncio.sleep(max(0.0, began + _PAUSE - time.monotonic()))


async def measure(pair: Pair, urls: Mapping[str, str]) -> list[Figure]:
    """Let the service come and go; ``urls`` say where callers in ``a`` and ``b`` call it."""
    (port,) = free_ports(1)
    await pair.application(SERVICE, port)
    service = await pair.a.start_proxy(SERVICE, app_port=port, settings={"registration": "none"})
    await pair.a.ready(SERVICE)
    took: dict[str, list[float]] = {zone: [] for zone in urls}
    async with _session() as session:
        for _ in range(ROUNDS):
            await _forgotten(pair, session, urls)
            trying = Trying(urls, session)
            async with asyncio.timeout(_WITHIN):
                _, accepted = await asyncio.gather(trying.run(), _register(pair, service))
            for zone, first in trying.first.items():
                took[zone].append((first - accepted) * 1e3)
            for each in (f"{SERVICE}{SIDECAR_SUFFIX}", SERVICE):
                await pair.consul_a.agent_deregister(each)
    params: Params = {"rounds": ROUNDS, "poll_ms": _PAUSE / _CALLERS * 1e3}
    return figures(took, params)


def figures(took: Mapping[str, list[float]], params: Params) -> list[Figure]:
    """Return what the rounds came to: of zone b, and of zone a as the floor."""
    return [
        Figure("zones", f"{name}_{label}", quantile(took[zone], share), "ms", params)
        for name, zone in (("registration_to_use_ms", "b"), ("registration_to_use_floor_ms", "a"))
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ]


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a call is answered with 200."""
    async with session.get(url) as answer:
        await answer.read()
        return answer.status == _OK


def definitions(service: Service) -> tuple[dict[str, Any], ...]:
    """Return the application and its sidecar as Consul's agent takes them."""
    application = {
        "ID": SERVICE,
        "Name": SERVICE,
        "Address": HOST,
        "Port": service.app_port,
    }
    sidecar = {
        "ID": f"{SERVICE}{SIDECAR_SUFFIX}",
        "Name": f"{SERVICE}{SIDECAR_SUFFIX}",
        "Kind": "connect-proxy",
        "Address": HOST,
        "Port": service.inbound_port,
        "Proxy": {
            "DestinationServiceName": SERVICE,
            "DestinationServiceID": SERVICE,
            "LocalServiceAddress": HOST,
            "LocalServicePort": service.app_port,
        },
    }
    return application, sidecar


async def _register(pair: Pair, service: Service) -> float:
    """Register it once everybody has tried in vain; return when it was accepted."""
    await asyncio.sleep(_WARM)
    for definition in definitions(service):
        await pair.consul_a.agent_register(definition)
    return time.monotonic()


async def _forgotten(pair: Pair, session: aiohttp.ClientSession, urls: Mapping[str, str]) -> None:
    async def so() -> bool:
        known = await pair.known_in_b()
        if known is None or SERVICE in known.services:
            return False
        return not any([await answers(session, url) for url in urls.values()])

    await until(f"{SERVICE} is forgotten", so)


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield session
