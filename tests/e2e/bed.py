"""One estate for all end-to-end tests: a caller, a stranger, and one service per protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.clients.consul import ConsulClient
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from tests.e2e.applications import APPLICATIONS

PROTOCOLS = {"shop": "http", "fast": "http2", "greeter": "grpc", "cache": "tcp", "mail": "tcp"}
"""What each service speaks."""
CALLER = "caller"
STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Bed:
    """The running estate and a client of its registry."""

    estate: Estate
    consul: ConsulClient

    def port(self, service: str, *, caller: str = CALLER) -> int:
        """Return where ``caller``'s application dials ``service``."""
        return self.estate.services[caller].upstreams[service]

    def url(self, service: str, path: str = "/", *, caller: str = CALLER) -> str:
        """Return the URL at which ``caller``'s application calls ``service``."""
        return f"http://{HOST}:{self.port(service, caller=caller)}{path}"

    async def allow(self, source: str, destination: str) -> None:
        """Write a plain allowing intention."""
        await self.consul.intentions.put(Intention(source, destination, Action.ALLOW))


@asynccontextmanager
async def made(directory: Path, zone: Mapping[str, Any] | None = None) -> AsyncIterator[Bed]:
    """Start everything; leaving ends it."""
    ports = dict(zip((*PROTOCOLS, CALLER, STRANGER), free_ports(len(PROTOCOLS) + 2), strict=True))
    async with AsyncExitStack() as stack:
        estate = await stack.enter_async_context(Estate(directory, zone_settings=zone or {}))
        await estate.start_zone()
        consul = await stack.enter_async_context(estate.client())
        for name, protocol in PROTOCOLS.items():
            await stack.enter_async_context(APPLICATIONS[name](ports[name]))
            await consul.config_put(
                {"Kind": "service-defaults", "Name": name, "Protocol": protocol}
            )
        for name in PROTOCOLS:
            await consul.intentions.put(Intention(CALLER, name, Action.ALLOW))
        # The callers' own applications are the tests; nothing listens on their ports.
        await asyncio.gather(
            *(estate.start_proxy(name, app_port=ports[name]) for name in PROTOCOLS),
            *(
                estate.start_proxy(
                    name,
                    app_port=ports[name],
                    upstreams=tuple(PROTOCOLS),
                    settings={"health": {"kind": "none"}},
                )
                for name in (CALLER, STRANGER)
            ),
        )
        await estate.ready()
        yield Bed(estate, consul)
