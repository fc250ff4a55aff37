"""Three zones, federated: each a real Consul in a network of its own, one Vault for all.

``made`` starts the networks, the Consuls and the Vault (OpenBao, in the network of the test
process, so that no cut between zones takes it from any).  What stands in the zones a test starts
itself::

    async with made(tmp_path) as bed:
        a, b = bed.zones["a"], bed.zones["b"]
        await a.start_control_plane()
        await a.start_service("api")
        await a.start_caller("web", ["api"])
        await a.estate.ready()
        requests to a.url("web", "api")
        await bed.network.cut("a", "b")
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from mesh.demo.estate import Estate, Service
from mesh.demo.hosts import Host
from mesh.demo.processes import Child, start
from tests.zones.consul import Consul, federated
from tests.zones.network import Network

ZONES: Final = ("a", "b", "c")
"""The first is the primary datacenter."""
_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""What is in no namespace would outlive a test process that crashes."""
_ENVIRONMENT: Final = {
    "PATH": os.getenv("PATH", os.defpath),
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


@dataclass(frozen=True, slots=True)
class Application:
    """A running :mod:`tests.zones.application`."""

    address: str
    port: int
    child: Child


@asynccontextmanager
async def application(
    estate: Estate, zone: str, name: str, *, protocol: str = "http", port: int = 0
) -> AsyncIterator[Application]:
    """Run an application beside ``estate`` that answers with the names of ``zone`` and itself."""
    host = estate.host
    port = port or host.free_ports(1)[0]
    said = ["--zone", zone, "--name", name, "--protocol", protocol]
    program = [sys.executable, "-m", "tests.zones.application", *said, "--listen", host.at(port)]
    child = await start(
        f"application {name}",
        [*host.prefix, *program],
        log=estate.directory / f"{name}.application.log",
        environment=_ENVIRONMENT,
    )
    try:
        await child.listens(port, host.address)
        yield Application(host.address, port, child)
    finally:
        await child.stop()


@dataclass(slots=True)
class Zone:
    """One zone: its Consul, and what a test started there."""

    name: str
    network: Network
    consul: Consul
    estate: Estate
    """Its control plane and its proxies; ``estate.mesh`` runs commands there."""
    applications: dict[str, Application] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def host(self) -> Host:
        """Where everything in it stands."""
        return self.estate.host

    async def start_control_plane(self, settings: Mapping[str, Any] | None = None) -> None:
        """Start ``mesh zone`` on the zone's Consul and the common Vault, and wait for it."""
        self.estate.zone_settings = {**self.estate.zone_settings, **(settings or {})}
        await self.estate.start_zone()

    async def start_application(
        self, name: str, *, protocol: str = "http", port: int = 0
    ) -> Application:
        """Start an application that answers with the zone's name and its own."""
        found = await self._stack.enter_async_context(
            application(self.estate, self.name, name, protocol=protocol, port=port)
        )
        self.applications[name] = found
        return found

    async def start_service(
        self,
        service: str,
        *,
        instance: str = "",
        protocol: str = "http",
        upstreams: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Service:
        """Start an application and its proxy; ``estate.ready`` waits until it serves."""
        name = instance or f"{service}-1"
        application = await self.start_application(name, protocol=protocol)
        return await self.estate.start_proxy(
            service,
            app_port=application.port,
            instance=name,
            upstreams=upstreams,
            settings=settings,
        )

    async def start_caller(
        self, service: str, upstreams: Sequence[str], settings: Mapping[str, Any] | None = None
    ) -> Service:
        """Start a proxy whose application is the test; :meth:`url` tells what to dial."""
        (port,) = self.host.free_ports(1)
        return await self.estate.start_proxy(
            service,
            app_port=port,
            upstreams=upstreams,
            settings={"health": {"kind": "none"}, **(settings or {})},
        )

    async def start_gateways(self, count: int = 1) -> None:
        """Start gateways, ``gateway-1`` and on; ``estate.ready`` waits until they serve."""
        for number in range(1, count + 1):
            await self.estate.start_gateway(f"gateway-{number}")

    def place(self, caller: str, upstream: str) -> tuple[str, int]:
        """Return the address and port at which ``caller`` dials ``upstream``; the test may, too."""
        return self.host.address, self.estate.services[caller].upstreams[upstream]

    def url(self, caller: str, upstream: str, path: str = "/") -> str:
        """Return the URL at which ``caller`` calls ``upstream``."""
        address, port = self.place(caller, upstream)
        return f"http://{address}:{port}{path}"

    async def close(self) -> None:
        """End everything in it."""
        await self._stack.aclose()

    async def open(self) -> None:
        """Prepare the estate."""
        self._stack.push_async_callback(self.consul.stop)
        await self._stack.enter_async_context(self.estate)
        self.estate.consul = self.consul.url


@dataclass(frozen=True, slots=True)
class Bed:
    """The zones by name, and the network between them."""

    network: Network
    zones: Mapping[str, Zone]
    session: aiohttp.ClientSession

    @property
    def consuls(self) -> list[Consul]:
        """All Consuls."""
        return [zone.consul for zone in self.zones.values()]

    async def federated(self) -> None:
        """Wait until all Consuls work together, after joining those that were apart.

        After a cut the secondaries follow the primary again within some ten seconds.
        """
        await asyncio.gather(*(each.join() for each in self.consuls))
        await federated(self.consuls)


@asynccontextmanager
async def made(
    directory: Path,
    zones: Sequence[str] = ZONES,
    *,
    vault: bool = True,
    consul: Mapping[str, Any] | None = None,
    consul_token: str = "",
) -> AsyncIterator[Bed]:
    """Start everything; leaving ends it.

    ``consul`` is laid over the settings of every Consul; if that turns ACLs on, ``consul_token``
    may do everything.  Without ``vault``, each zone signs with a root of its own.
    """
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network(zones))
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        common = await stack.enter_async_context(
            Estate(directory / "common", host=Host(network.outside, _WITH_US))
        )
        found: dict[str, Zone] = {}
        stack.push_async_callback(_close, found)
        for name in zones:
            server = Consul(
                name,
                zones[0],
                network.host(name),
                directory / name / "consul",
                [network.address(peer) for peer in zones if peer != name],
                session,
                consul or {},
                consul_token,
            )
            estate = Estate(directory / name, host=server.host)
            found[name] = Zone(name, network, server, estate)
            await found[name].open()
        bed = Bed(network, found, session)
        await asyncio.gather(
            *([common.start_vault()] if vault else []), *(each.start() for each in bed.consuls)
        )
        for zone in found.values():
            zone.estate.share_vault(common)
        await federated(bed.consuls)
        yield bed


async def _close(zones: Mapping[str, Zone]) -> None:
    await asyncio.gather(*(zone.close() for zone in zones.values()))
