"""Calls that shall leave by egress gateways, and whether there are any."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mesh.cli.checks.model import Finding, ok, warning
from mesh.cli.checks.surroundings import Surroundings
from mesh.cli.facts import told, with_policies
from mesh.model.entries import Entries, GatewayMode
from mesh.model.names import SIDECAR_SUFFIX, ZONE_EGRESS
from mesh.model.services import Health
from mesh.routing.egress import all_leaving
from mesh.sources.consul.instances import worst
from mesh.world.snapshot import World

_START = "Start two or more `mesh gateway --egress`."
_MEND = "Mend it: `mesh get` shows what stands, `mesh apply` replaces it."


class ConsulEgress:
    """Holds what entries and policies say against what is registered."""

    title = "ways out by egress gateways"
    vital = False

    def __init__(self, surroundings: Surroundings) -> None:
        """Take what was read from ``surroundings``."""
        self._surroundings = surroundings

    async def run(self) -> Sequence[Finding]:
        """Name what cannot leave."""
        client = self._surroundings.consul
        facts = await self._surroundings.facts()
        world, problems = await with_policies(client, facts.world)
        gateways = (await client.health_connect(ZONE_EGRESS)).value
        answering = sum(worst(one.checks or ()) is not Health.CRITICAL for one in gateways)
        found = judge(world, answering, (await client.catalog_services()).value)
        # A policy that is not understood may well be about a way out.
        return [*found, *(warning(told(one), _MEND) for one in problems)]


def judge(world: World, gateways: int, catalog: Collection[str]) -> list[Finding]:
    """Say what is missing, where ``gateways`` answer and ``catalog`` is registered."""
    found = all_leaving(world)
    wanted = [*(one.service for one in found), *_local(world.entries)]
    if not wanted:
        return [ok("nothing needs egress gateways")]
    findings = []
    if not gateways:
        text = f"no egress gateway answers, and calls that need one fail: {', '.join(wanted)}"
        findings.append(warning(text, _START))
    for one in found:
        if one.linked and one.service not in catalog:
            text = f"terminating-gateway {ZONE_EGRESS} names {one.service}, which is not registered"
            findings.append(warning(text, "Register its hosts in Consul's catalog."))
        if f"{one.service}{SIDECAR_SUFFIX}" in catalog:
            text = f"calls to {one.service} leave by egress, though it has sidecars in this zone"
            findings.append(warning(text, "Name it otherwise, or take it out of the entry."))
    return findings or [ok(f"{gateways} egress gateways answer, for {', '.join(wanted)}")]


def _local(entries: Entries) -> list[str]:
    """Return what makes calls to other zones leave by our own gateways."""
    local = GatewayMode.LOCAL
    found = ["other zones"] if entries.proxy_defaults.gateway is local else []
    for name, one in sorted(entries.service_defaults.items()):
        modes = (
            one.gateway,
            one.upstream.gateway,
            *(each.gateway for each in one.upstreams.values()),
        )
        if local in modes:
            found.append(f"other zones (service-defaults {name})")
    return found
