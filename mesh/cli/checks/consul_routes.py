"""Configuration entries that can be read, and by which calls cannot be routed."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok
from mesh.cli.checks.surroundings import Surroundings
from mesh.clients.consul import ConsulClient, ConsulError
from mesh.model.entries import Entries
from mesh.model.violations import Violation
from mesh.routing.chain import check_chains

_KINDS = ("service-router", "service-splitter", "service-resolver")


class ConsulRoutes:
    """Compiles every chain as the zone does."""

    title = "routes of configuration entries"
    vital = False

    def __init__(self, surroundings: Surroundings) -> None:
        """Take what was read from ``surroundings``."""
        self._surroundings = surroundings

    async def run(self) -> Sequence[Finding]:
        """Name each culprit."""
        entries = (await self._surroundings.facts()).world.entries
        zone = await _zone(self._surroundings.consul)
        services = _services(entries)
        found = check_chains(entries, services, zone=zone)
        if found:
            return [judge(entry, violation) for entry, violation in found]
        return [ok(f"calls to {len(services)} services with entries can be routed")]


def judge(entry: str, violation: Violation) -> Finding:
    """Say what is wrong with one entry."""
    kind, _, name = entry.partition(" ")
    remedy = "See `mesh explain SRC DST` for what its calls come to."
    if kind in _KINDS:
        remedy = f"Mend it: `consul config read -kind {kind} -name {name}`."
    text = f"calls cannot be routed by {entry}: {violation}" if entry else str(violation)
    return failure(text, remedy)


def _services(entries: Entries) -> list[str]:
    kinds = (entries.routers, entries.splitters, entries.resolvers, entries.service_defaults)
    return sorted({name for kind in kinds for name in kind})


async def _zone(client: ConsulClient) -> str:
    try:
        return str((await client.agent_self())["Config"]["Datacenter"])
    except (ConsulError, KeyError):
        # It takes agent:read; without, an entry that names the zone seems to name another.
        return ""
