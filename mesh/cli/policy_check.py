"""Consul's configuration entries, for the commands that hold policies against them."""

from __future__ import annotations

from mesh.clients.consul import ConsulClient
from mesh.model.entries import Entries
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problems
from mesh.world.changes import Change
from mesh.world.reduce import reduce
from mesh.world.snapshot import World


async def read_entries(client: ConsulClient) -> Entries:
    """Read the configuration entries, against which policies are held.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    changes: list[Change] = []
    knowledge = Knowledge(changes.append, Problems())
    knowledge.entries((await client.config_list()).value, with_intentions=False)
    world = World(zone="", trust_domain="")
    for change in changes:
        world, _ = reduce(world, change)
    return world.entries
