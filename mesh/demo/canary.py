"""A new version of ``api`` takes over from the old, half of the calls first, under load.

The subsets are Consul's (a service-resolver), the weights a policy's: applied with the same
command that an operator types.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from mesh.clients.consul import ConsulClient
from mesh.demo.applications import Api
from mesh.demo.estate import Estate
from mesh.demo.load import Load
from mesh.demo.loopback import free_ports

OLD: Final = "hello from api"
NEW: Final = "hello from the new api"
_POLICY: Final = "api-canary"
_RESOLVER: Final = "service-resolver"
CALLS: Final = 40
_SECONDS: Final = 10.0
_FEWEST: Final = 5
"""Of 40 calls at even weights, fewer than these go one way once in ten million times."""


class Canary:
    """The second version, and the policy that brings it in."""

    def __init__(self, estate: Estate, consul: ConsulClient) -> None:
        """Prepare; nothing runs yet."""
        self._estate = estate
        self._consul = consul
        self._began = False

    async def start(self) -> tuple[Api, int]:
        """Start the proxy of the new version; return its application and the port to run it on."""
        self._began = True
        (port,) = free_ports(1)
        proxy = await self._estate.start_proxy(
            "api",
            app_port=port,
            upstreams=["db"],
            instance="api-2",
            settings={"labels": {"version": "v2"}},
        )
        subsets = {
            "old": {"Filter": "Service.Meta.version != v2"},
            "new": {"Filter": "Service.Meta.version == v2"},
        }
        await self._consul.config_put(
            {"Kind": _RESOLVER, "Name": "api", "DefaultSubset": "old", "Subsets": subsets}
        )
        return Api(proxy.upstreams["db"], NEW), port

    async def weigh(self, new: int) -> None:
        """Send ``new`` percent of web's calls to the new version."""
        refs = [
            {"kind": "MeshService", "name": "api", "subset": subset, "weight": weight}
            for subset, weight in (("old", 100 - new), ("new", new))
        ]
        to = {
            "targetRef": {"kind": "MeshService", "name": "api"},
            "rules": [{"default": {"backendRefs": refs}}],
        }
        file = self._estate.directory / f"{_POLICY}.yaml"
        # JSON is YAML.
        file.write_text(
            json.dumps({"type": "MeshHTTPRoute", "name": _POLICY, "spec": {"to": [to]}})
        )
        await self._estate.mesh(["apply", "-f", str(file)])

    async def close(self) -> None:
        """Take back what was written to the registry."""
        if self._began:
            self._began = False
            await self._estate.mesh(["delete", "MeshHTTPRoute", _POLICY])
            await self._consul.config_delete(_RESOLVER, "api")


async def take_over(
    canary: Canary, url: str, get: Callable[[], Awaitable[str]]
) -> tuple[str, Load]:
    """Let the new version take half of the calls, then all; return what was seen, and the load."""
    async with Load(url) as load:
        await load.reach(CALLS)
        await canary.weigh(50)
        half = await _settled(get, lambda new: _FEWEST <= new <= CALLS - _FEWEST)
        await canary.weigh(100)
        whole = await _settled(get, lambda new: new == CALLS)
        await load.reach(load.tally.sent + CALLS)
    return f"{half} of {CALLS} calls, then {whole} of {CALLS}", load


async def _settled(get: Callable[[], Awaitable[str]], wanted: Callable[[int], bool]) -> int:
    """Count the new version's answers until they are as ``wanted``."""
    began = time.monotonic()
    while True:
        found = [await get() for _ in range(CALLS)].count(NEW)
        if wanted(found) or time.monotonic() - began > _SECONDS:
            return found
