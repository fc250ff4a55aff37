"""Two federated zones on loopback: ``a``, the primary, and ``b``.

Real Consuls, one OpenBao for both, a control plane and a gateway in each.  Applications are
processes of their own (:mod:`tests.zones.application`), each of which answers with its name.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh.clients.consul import ConsulClient
from mesh.demo.estate import Estate, Service
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import Child, ProcessError, start
from mesh.model.zones import Zone
from mesh.sources.zones import record
from tests import realconsul

_PATIENCE: Final = 30.0
_POLL: Final = 0.1
_ROOT: Final = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Pair:
    """The zones, and clients of their registries."""

    a: Estate
    b: Estate
    consul_a: ConsulClient
    consul_b: ConsulClient
    stack: AsyncExitStack
    """What is started beside the zones, and ends with them."""

    async def application(self, name: str, port: int) -> Child:
        """Start an application that answers at ``port``, by ``name`` in the header ``x-zone``."""
        program = [sys.executable, "-m", "tests.zones.application", "--zone", name]
        child = await start(
            f"application {name}",
            [*program, "--name", name, "--listen", f"{HOST}:{port}"],
            log=self.a.directory / f"{name}.application.log",
            environment={"PYTHONPATH": str(_ROOT)},
        )
        self.stack.push_async_callback(child.stop)
        await child.listens(port)
        return child

    async def caller(self, estate: Estate, *upstreams: str) -> Service:
        """Start the proxy of a caller, whose application is the bench."""
        (port,) = free_ports(1)
        return await estate.start_proxy(
            "web", app_port=port, upstreams=upstreams, settings={"health": {"kind": "none"}}
        )

    async def speaks_http(self, service: str) -> None:
        """Say of a service that it speaks HTTP, and wait until both zones' registries know."""
        entry = {"Kind": "service-defaults", "Name": service, "Protocol": "http"}
        await self.consul_a.config_put(entry)

        async def known() -> bool:
            entries = await self.consul_b.config_list()
            return any(
                (each.get("Kind"), each.get("Name")) == ("service-defaults", service)
                for each in entries.value
            )

        await until(f"zone b knows what {service} speaks", known)

    async def known_in_b(self) -> Zone | None:
        """Return what zone b knows of zone a; None before it has heard of it."""
        held = (await self.consul_b.kv_get(f"{record.PREFIX}a")).value
        return record.parse(held.data, held.key).zone if held is not None else None


@asynccontextmanager
async def pair(directory: Path) -> AsyncIterator[Pair]:
    """Start both zones, and wait until each knows the other's gateway."""
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(Estate(directory / "a"))
        b = await stack.enter_async_context(Estate(directory / "b"))
        binary = str(realconsul.binary())
        wan_a, wan_b = free_ports(2)
        common = {"primary_datacenter": "a", "retry_interval_wan": "1s", "log_level": "WARN"}
        settings_a = {"datacenter": "a", "ports": {"serf_wan": wan_a}}
        settings_b = {"datacenter": "b", "ports": {"serf_wan": wan_b}}
        join = {"retry_join_wan": [f"{HOST}:{wan_a}"]}
        await asyncio.gather(
            a.start_vault(),
            a.start_consul(binary, {**common, **settings_a}),
            b.start_consul(binary, {**common, **settings_b, **join}),
        )
        b.share_vault(a)
        await asyncio.gather(a.start_zone(), b.start_zone())
        found = Pair(
            a,
            b,
            await stack.enter_async_context(a.client()),
            await stack.enter_async_context(b.client()),
            stack,
        )
        await asyncio.gather(a.start_gateway(), b.start_gateway())
        await asyncio.gather(a.ready(), b.ready())

        async def met() -> bool:
            known = await found.known_in_b()
            return known is not None and bool(known.gateways)

        await until("zone b knows the gateway of a", met)
        yield found


async def until(
    what: str, holds: Callable[[], Awaitable[bool]], *, patience: float = _PATIENCE
) -> None:
    """Wait until ``holds``.

    Raises:
        ProcessError: it never did, within ``patience`` seconds.

    """
    ends = time.monotonic() + patience
    while not await holds():
        if time.monotonic() > ends:
            raise ProcessError(f"{what}: not after {patience:.0f} s")
        await asyncio.sleep(_POLL)
