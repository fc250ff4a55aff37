"""Which checks there are, in which order."""

from __future__ import annotations

from mesh.ca.vault_layout import Mode
from mesh.cli.checks.clock_skew import ClockSkew, consul_clock, zone_clock
from mesh.cli.checks.consul_default_policy import ConsulDefaultPolicy
from mesh.cli.checks.consul_dialect import ConsulDialect
from mesh.cli.checks.consul_egress import ConsulEgress
from mesh.cli.checks.consul_entries import ConsulEntries
from mesh.cli.checks.consul_reachable import ConsulReachable
from mesh.cli.checks.consul_rights import ConsulRights
from mesh.cli.checks.consul_routes import ConsulRoutes
from mesh.cli.checks.consul_version import ConsulVersion
from mesh.cli.checks.local_envoy import LocalEnvoy
from mesh.cli.checks.local_openssl import LocalOpenssl
from mesh.cli.checks.model import Section
from mesh.cli.checks.other_zones import OtherZones
from mesh.cli.checks.surroundings import Surroundings, ZonePlace
from mesh.cli.checks.vault_policy import VaultPolicy
from mesh.cli.checks.vault_unsealed import VaultUnsealed
from mesh.cli.checks.zone_absent import ZoneAbsent
from mesh.cli.checks.zone_problems import ZoneProblems
from mesh.cli.checks.zone_proxies import ZoneProxies
from mesh.cli.checks.zone_reachable import ZoneReachable
from mesh.cli.checks.zone_status import ZoneStatus
from mesh.clients.vault import VaultClient


def local() -> Section:
    """Return the checks of this host."""
    return Section("This host", (LocalEnvoy(), LocalOpenssl()))


def consul(surroundings: Surroundings) -> Section:
    """Return the checks of Consul and what is in it."""
    client, clock = surroundings.consul, surroundings.clock
    checks = (
        ConsulReachable(client),
        ConsulVersion(client),
        ConsulRights(client),
        ConsulDialect(client),
        ConsulDefaultPolicy(client),
        ConsulEntries(surroundings),
        ConsulRoutes(surroundings),
        OtherZones(client, clock),
        ConsulEgress(surroundings),
        ClockSkew("Consul", consul_clock(client.address), clock),
    )
    return Section("Consul", checks)


def vault(client: VaultClient, mount: str, mode: Mode) -> Section:
    """Return the checks of Vault."""
    return Section("Vault", (VaultUnsealed(client), VaultPolicy(client, mount, mode)))


def zone(place: ZonePlace, surroundings: Surroundings) -> Section:
    """Return the checks of a zone."""
    clock = surroundings.clock
    if not place.named and not place.address.bundle_file.exists():
        return Section("Zone", (ZoneAbsent(place),))
    checks = (
        ZoneReachable(place, clock),
        ClockSkew("the zone", zone_clock(place), clock),
        ZoneStatus(place, clock),
        ZoneProxies(place, clock),
        ZoneProblems(place),
    )
    return Section("Zone", checks)
