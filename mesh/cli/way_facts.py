"""What Consul holds about the way of one call, beside what it holds about authorization."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from mesh.cli.facts import Facts, read_facts, told, with_policies
from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError, KeyValue
from mesh.model.destinations import Destination
from mesh.model.names import OUTSIDE
from mesh.model.proxies import ProxyNeed
from mesh.render.parties import registered
from mesh.routing.memo import Compositions
from mesh.sources.consul import rollouts
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problem, Problems
from mesh.sources.zones import peers, record
from mesh.world.changes import Change
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

_MOST: Final = 100
"""Services whose instances are asked for; a call that may end at more is not for people."""


async def ask(
    address: ConsulAddress, source: str, destination: str
) -> tuple[Facts, World, list[str]]:
    """Dial Consul and read what a call from ``source`` to ``destination`` turns on.

    Returned are what is held about authorization, the whole, and what could not be read of it.

    Raises:
        ConsulError: Consul did not answer, or refused what the verdict takes.

    """
    async with ConsulClient(address) as client:
        facts = await read_facts(client)
        reading = _Reading(client, World(await _zone(client), ""))
        world, missing = await reading.of(facts.world, source, destination)
        return facts, world, missing


async def _zone(client: ConsulClient) -> str:
    try:
        return str((await client.agent_self())["Config"]["Datacenter"])
    except (ConsulError, KeyError):
        # Only entries that name the zone, and policies that select by it, need to know.
        return ""


class _Reading:
    """One reading; what Consul refuses is noted in ``missing``."""

    def __init__(self, client: ConsulClient, world: World) -> None:
        self._client = client
        self._zone = world.zone
        self._world = world
        self._problems = Problems()
        self._knowledge = Knowledge(self._take, self._problems)
        self._missing: list[str] = []

    async def of(self, world: World, source: str, destination: str) -> tuple[World, list[str]]:
        self._world = replace(world, zone=self._zone)
        malformed = await self._policies()
        await self._keys(rollouts.PREFIX, self._knowledge.rollouts)
        await self._keys(record.PREFIX, self._knowledge.zones)
        await self._keys(peers.PREFIX, self._knowledge.peers)
        await self._instances(source)
        await self._instances(destination)
        while unknown := self._unknown(source, destination)[:_MOST]:
            for service in unknown:
                await self._instances(service)
        self._missing += map(told, (*malformed, *self._problems.current))
        return self._world, self._missing

    def _take(self, change: Change) -> None:
        self._world, _ = reduce(self._world, change)

    async def _policies(self) -> tuple[Problem, ...]:
        found = await self._read("what policies say", with_policies(self._client, self._world))
        problems: tuple[Problem, ...] = ()
        if found is not None:
            self._world, problems = found
        return problems

    async def _keys(self, prefix: str, take: Callable[[tuple[KeyValue, ...]], None]) -> None:
        answer = await self._read(f"what stands below {prefix}", self._client.kv_list(prefix))
        if answer is not None:
            take(answer.value)

    async def _instances(self, service: str) -> None:
        found = await self._read(
            f"the instances of {service.removeprefix(OUTSIDE)}", self._asked(service)
        )
        self._knowledge.instances(service, found.value if found is not None else ())

    def _asked(self, service: str) -> Coroutine[Any, Any, Any]:
        if service.startswith(OUTSIDE):
            return self._client.health_service(service.removeprefix(OUTSIDE))
        return self._client.health_connect(service)

    async def _read(self, what: str, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await call
        except ConsulError as error:
            self._missing.append(f"{what} cannot be read, and is left out: {error}")
            return None

    def _unknown(self, source: str, destination: str) -> list[str]:
        """Return the services that calls may end at, and that were not asked for yet."""
        known = Compositions(self._world)
        callers = [ProxyNeed(source, self._zone, None), *registered(self._world, source)]
        names = {
            name
            for need in callers
            for one in known.traffic(
                source, known.selection(need), destination
            ).traffic.destinations.values()
            for name in (*one.services, *self._outside(one))
        }
        return sorted(names - self._world.instances.keys())

    def _outside(self, destination: Destination) -> tuple[str, ...]:
        service = destination.target.service
        linked = destination.selection.is_outside and service in self._world.entries.linked
        return (f"{OUTSIDE}{service}",) if linked else ()
