"""What Consul holds about authorization, and policies, read once for one command.

The zone's own readers and reducer do the work, so that a verdict here is the zone's, and can be
had while the zone is down.  What is malformed stands as a zone that had just started would have
it, and is named in :attr:`Facts.problems`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.cli import output
from mesh.clients.consul import ConsulAddress, ConsulClient, Dialect
from mesh.sources.consul import policies
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problem, Problems
from mesh.world.changes import Change
from mesh.world.reduce import reduce
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Facts:
    """Intentions, protocols and the default policy of a zone, and what could not be read."""

    world: World
    dialect: Dialect
    problems: tuple[Problem, ...]


async def ask(address: ConsulAddress) -> Facts:
    """Dial Consul and read all of it.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        return await read_facts(client)


def report_problems(facts: Facts) -> None:
    """Name on stderr what is malformed in Consul."""
    output.warn([told(problem) for problem in facts.problems])


def told(problem: Problem) -> str:
    """Say in one line what is malformed, what holds instead, and what is wrong with it."""
    wrong = "; ".join(map(str, problem.violations))
    return f"{problem.kind} {problem.name} is malformed, {problem.standing}: {wrong}"


async def read_facts(client: ConsulClient) -> Facts:
    """Ask Consul for all of it.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    changes: list[Change] = []
    problems = Problems()
    knowledge = Knowledge(changes.append, problems)
    dialect = await client.dialect()
    # Hidden behind an intention from anybody to anybody it is None: the zone too takes deny then.
    knowledge.default_policy(allow=bool(await client.default_allow()))
    entries = (await client.config_list()).value
    knowledge.entries(entries, with_intentions=dialect is Dialect.CONFIG_ENTRIES)
    if dialect is Dialect.LEGACY:
        knowledge.records((await client.intentions.legacy()).value)
    return Facts(_after(World(zone="", trust_domain=""), changes), dialect, problems.current)


async def with_policies(client: ConsulClient, world: World) -> tuple[World, tuple[Problem, ...]]:
    """Add to ``world`` the policies that stand, the zone's own and those of the primary zone.

    Returned beside it is what is malformed among them.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    changes: list[Change] = []
    problems = Problems()
    knowledge = Knowledge(changes.append, problems)
    knowledge.policies((await client.kv_list(policies.PREFIX)).value)
    knowledge.mirror((await client.kv_list(policies.MIRROR)).value)
    return _after(world, changes), problems.current


def _after(world: World, changes: Iterable[Change]) -> World:
    for change in changes:
        world, _ = reduce(world, change)
    return world
