"""A second zone beside the first: its own registry and control plane, the same Vault.

Over Consul the two are federated as an operator would; the embedded registries are told of each
other.  What is only in one zone is reached from the other through that zone's gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mesh.demo.applications import Api
from mesh.demo.estate import Estate, Service
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import ProcessError
from mesh.model.intentions import Action, Intention

FIRST: Final = "dc1"
SECOND: Final = "dc2"
GREETING: Final = f"hello from api in {SECOND}"
_RETRY: Final = "reads-again"
_SECONDS: Final = 30.0
_REGISTRY_TOKEN: Final = "zone/registry-token"


class SecondZone:
    """What is started of the second zone, and how."""

    def __init__(self, first: Estate, estate: Estate) -> None:
        """``estate`` is the second zone's, ``first`` is the other's; neither zone runs yet."""
        self._first = first
        self.estate = estate

    async def prepare(self, consul: str | None) -> None:
        """Tell each zone's registry of the other: Consuls started from ``consul``, or embedded."""
        first, second = self._first, self.estate
        if consul is None:
            for zone, estate, peer, name in (
                (FIRST, first, second, SECOND),
                (SECOND, second, first, FIRST),
            ):
                known = {"neighbours": {name: peer.consul_url}}
                estate.zone_settings = {"zone": zone, "embedded": known}
            return
        wan, other = free_ports(2)
        await first.start_consul(consul, {"primary_datacenter": FIRST, **_wan(wan)})
        await second.start_consul(
            consul,
            {
                "datacenter": SECOND,
                "primary_datacenter": FIRST,
                "retry_join_wan": [f"{HOST}:{wan}"],
                "retry_interval_wan": "1s",
                **_wan(other),
            },
        )

    async def start(self, run: Callable[[Api, int], Awaitable[None]]) -> None:
        """Start the zone, a gateway in each, and an ``api`` of its own; ``run`` runs that."""
        first, second = self._first, self.estate
        if not second.consul:
            _share(first, second)
        second.share_vault(first)
        await second.start_zone()
        async with second.client() as consul:
            await consul.config_put({"Kind": "service-defaults", "Name": "api", "Protocol": "http"})
            for source, destination in (("web", "api"), ("api", "db")):
                await consul.intentions.put(Intention(source, destination, Action.ALLOW))
        (port,) = free_ports(1)
        api, *_ = await asyncio.gather(
            second.start_proxy("api", app_port=port, upstreams=["db"]),
            first.start_gateway(),
            second.start_gateway(),
        )
        await run(Api(api.upstreams["db"], GREETING), port)
        await asyncio.gather(second.ready(), first.ready("gateway-1"))
        await _knows(first, SECOND, "api")
        await _knows(second, FIRST, "db")

    async def read_again(self) -> None:
        """Say that reads which were cut off may be made again."""
        again = {"numRetries": 3, "retryOn": ["Reset", "ConnectFailure", "RefusedStream"]}
        to = {"targetRef": {"kind": "MeshService", "name": "api"}, "default": {"http": again}}
        file = self._first.directory / f"{_RETRY}.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"type": "MeshRetry", "name": _RETRY, "spec": {"to": [to]}}))
        await self._first.mesh(["apply", "-f", str(file)])

    async def lose(self, services: list[Service]) -> None:
        """End proxies of the first zone as a power cut would."""
        for service in services:
            await self._first.kill_proxy(service)


def _wan(port: int) -> dict[str, Any]:
    return {"ports": {"serf_wan": port}}


def _share(first: Estate, second: Estate) -> None:
    """Give the second registry the token of the first: each asks the other with its own."""
    token = second.directory / _REGISTRY_TOKEN
    token.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write((first.directory / _REGISTRY_TOKEN).read_bytes())


async def _knows(estate: Estate, zone: str, service: str) -> None:
    """Wait until the zone of ``estate`` knows that ``service`` answers in ``zone``."""
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends:
        found = json.loads(await estate.mesh(["zones", "-o", "json"]))
        known: dict[str, Any] = next((each for each in found if each["zone"] == zone), {})
        if known.get("gateways") and known["services"].get(service, {}).get("healthy"):
            return
    raise ProcessError(f"{service} in zone {zone} is not known after {_SECONDS:.0f} s")
