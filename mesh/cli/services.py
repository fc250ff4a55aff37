"""``mesh services``: what is registered in a zone's Consul, and how it fares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import typer

from mesh.cli import progress
from mesh.cli.consul import consul_options
from mesh.cli.facts import Facts, read_facts, report_problems
from mesh.cli.output import Output, OutputOption, Table, show
from mesh.clients.consul import ConsulAddress, ConsulClient, HealthEntry
from mesh.model.names import SIDECAR_SUFFIX
from mesh.model.services import Health
from mesh.policies.intentions import applicable
from mesh.sources.consul.instances import worst
from mesh.sources.consul.knowledge import CONSUL

app = typer.Typer()

COLUMNS = ("name", "protocol", "healthy", "in mesh", "intentions")


@dataclass(frozen=True, slots=True)
class Count:
    """How many instances there are, and how many of them pass their checks."""

    healthy: int
    total: int

    def __str__(self) -> str:
        """Write ``2/3``."""
        return f"{self.healthy}/{self.total}"


@dataclass(frozen=True, slots=True)
class Service:
    """One service.  ``instances`` are the application's, ``proxies`` their sidecars."""

    name: str
    protocol: str
    instances: Count
    proxies: Count
    intentions: int


@app.command(epilog="\b\nExamples:\n  mesh services\n  mesh services -o yaml")
@consul_options
def services(*, consul: ConsulAddress, output: OutputOption = Output.TABLE) -> None:
    """List the services of a zone.

    HEALTHY counts the application's instances that pass their checks, IN MESH their sidecars,
    INTENTIONS what stands for calls to the service.
    """
    facts, found = progress.run("Asking Consul", read_services(consul))
    report_problems(facts)
    table = Table(COLUMNS, rows(found), "No service is registered.")
    show(output, [asdict(each) for each in found], table)


async def read_services(address: ConsulAddress) -> tuple[Facts, list[Service]]:
    """Ask Consul for every service.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        facts = await read_facts(client)
        catalog = (await client.catalog_services()).value
        names = sorted(
            name for name in catalog if name != CONSUL and not name.endswith(SIDECAR_SUFFIX)
        )
        # The client's own limit on connections paces these.
        return facts, list(await asyncio.gather(*(_service(client, facts, one) for one in names)))


def rows(found: Iterable[Service]) -> list[tuple[object, ...]]:
    """Return a row for each service."""
    return [
        (each.name, each.protocol, each.instances, each.proxies, each.intentions) for each in found
    ]


def count(entries: Iterable[HealthEntry]) -> Count:
    """Count instances, and those that pass all of their checks."""
    health = [worst(entry.checks or ()) for entry in entries]
    return Count(sum(each is not Health.CRITICAL for each in health), len(health))


async def _service(client: ConsulClient, facts: Facts, name: str) -> Service:
    instances = (await client.health_service(name)).value
    proxies = (await client.health_connect(name)).value
    return Service(
        name,
        facts.world.protocol(name).value,
        count(instances),
        count(proxies),
        len(applicable(facts.world.intentions, name)),
    )
