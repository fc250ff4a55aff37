"""Three zones at work: control planes, gateways, services and callers, all of them started.

``api`` is in every zone, ``stock`` in ``b`` and ``c``, ``orders`` in ``b`` alone; ``web`` calls all
three, from ``a`` and from ``c``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh.clients.consul import ConsulClient
from mesh.model.intentions import Action, Intention
from tests.traffic.waiting import until
from tests.zones.bed import Bed, Zone, made

SERVICES: Final[Mapping[str, Sequence[str]]] = {
    "api": ("a", "b", "c"),
    "stock": ("b", "c"),
    "orders": ("b",),
}
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Three:
    """The zones ``a`` (the primary), ``b`` and ``c``."""

    bed: Bed

    @property
    def a(self) -> Zone:
        """The primary."""
        return self.bed.zones["a"]

    @property
    def b(self) -> Zone:
        """A secondary."""
        return self.bed.zones["b"]

    @property
    def c(self) -> Zone:
        """Another secondary."""
        return self.bed.zones["c"]

    async def status(self, url: str) -> tuple[int, str]:
        """Return what a call is answered with: status, and the zone or the words."""
        async with self.bed.session.get(url) as answer:
            text = (await answer.text()).strip()
            return answer.status, answer.headers.get("x-zone", text)

    async def answers(self, url: str, zone: str) -> None:
        """Wait until ``url`` is answered from ``zone``."""

        async def so() -> bool | None:
            return True if await self.status(url) == (200, zone) else None

        await until(f"{url} is answered from zone {zone}", so, patience=_PATIENCE)

    async def allow(self, source: str, destination: str, action: Action = Action.ALLOW) -> None:
        """Write an intention in the primary."""
        async with ConsulClient(self.a.consul.address) as client:
            await client.intentions.put(Intention(source, destination, action))

    async def zones_seen(self, zone: Zone) -> dict[str, dict[str, Any]]:
        """Return what ``mesh zones`` says in ``zone``, by name."""
        said = json.loads(await zone.estate.mesh(["zones", "-o", "json"]))
        return {each["zone"]: each for each in said}

    async def apply(self, zone: Zone, document: Mapping[str, Any]) -> None:
        """Apply a policy in ``zone``."""
        file = zone.estate.directory / f"{document['name']}.yaml"
        file.write_text(json.dumps(document))
        await zone.estate.mesh(["apply", "-f", str(file)])


@asynccontextmanager
async def three(
    directory: Path, *, gateways: int = 1, callers: Sequence[str] = ("a",)
) -> AsyncIterator[Three]:
    """Start everything, and wait until calls pass everywhere."""
    async with made(directory) as bed:
        found = Three(bed)
        async with ConsulClient(found.a.consul.address) as client:
            for service in SERVICES:
                await client.config_put(
                    {"Kind": "service-defaults", "Name": service, "Protocol": "http"}
                )
        zones = bed.zones.values()
        await asyncio.gather(*(zone.start_control_plane() for zone in zones))
        for zone in zones:
            await _fill(zone, gateways, caller=zone.name in callers)
        await asyncio.gather(*(zone.estate.ready() for zone in zones))
        for name in callers:
            caller = bed.zones[name]
            await found.answers(caller.url("web", "api"), name)
            await found.answers(caller.url("web", "orders"), "b")
        yield found


async def _fill(zone: Zone, gateways: int, *, caller: bool) -> None:
    starting = [zone.start_gateways(gateways)]
    starting += [
        _service(zone, service) for service, where in SERVICES.items() if zone.name in where
    ]
    if caller:
        starting.append(_caller(zone))
    await asyncio.gather(*starting)


async def _service(zone: Zone, service: str) -> None:
    await zone.start_service(service)


async def _caller(zone: Zone) -> None:
    await zone.start_caller("web", list(SERVICES))
