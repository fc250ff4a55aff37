"""The Consul that a zone stands on: one that is there, or the registry in its own process."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from mesh.aio.clock import Clock
from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError
from mesh.config.zone import ZoneSettings
from mesh.controlplane import token_file
from mesh.controlplane.listening import explained
from mesh.embedded.server import EmbeddedRegistry
from mesh.model.violations import Report

logger = logging.getLogger(__name__)

REGISTRY_TOKEN: Final = "registry-token"
"""File in the data directory with the embedded registry's token."""
_EMBEDDED_ZONE: Final = "dc1"
_EMBEDDED_WATCHES: Final = 10_000
"""The embedded registry has no limit of connections per client."""
_SPARE_CONNECTIONS: Final = 64
"""Connections to Consul beyond those that wait: sweeps, leases, enrolment."""


async def client_for(settings: ZoneSettings, stack: AsyncExitStack, clock: Clock) -> ConsulClient:
    """Return the client of the zone's Consul, or of the registry that is started here."""
    if settings.embedded is None:
        named = settings.consul.token_file
        address = ConsulAddress(
            url=settings.consul.url,
            token=named.read_text().strip() if named else "",
            ca_file=_text(settings.consul.ca_file),
            cert_file=_text(settings.consul.cert_file),
            key_file=_text(settings.consul.key_file),
        )
    else:
        token = token_file.read_or_make(settings.data_dir / REGISTRY_TOKEN)
        registry = EmbeddedRegistry(
            settings.data_dir / "registry",
            token,
            settings.zone or _EMBEDDED_ZONE,
            neighbours=settings.embedded.neighbours,
            clock=clock,
        )
        place = settings.embedded.listen
        with explained("the embedded registry", place):
            url = await registry.start(place.host, place.port)
        stack.push_async_callback(registry.close)
        address = ConsulAddress(url=url, token=token)
    client = ConsulClient(address, max_connections=max_watches(settings) + _SPARE_CONNECTIONS)
    stack.push_async_callback(client.close)
    return client


async def zone_name(settings: ZoneSettings, consul: ConsulClient) -> str:
    """Return the zone's name, which is that of the datacenter that Consul is in.

    Raises:
        ConsulError: Consul does not answer, and the settings do not say it either.
        InvalidInputError: the settings say another.

    """
    try:
        datacenter = str((await consul.agent_self())["Config"]["Datacenter"])
    except ConsulError as error:
        if settings.zone is None:
            raise
        # Whoever said which zone it is may start before Consul does.
        logger.warning("datacenter unknown", extra={"reason": str(error)})
        return settings.zone
    if settings.zone not in {None, datacenter}:
        report = Report("the configuration")
        words = f"is {settings.zone}, and this Consul is the datacenter {datacenter}: a zone is one"
        report.add("zone", f"{words}. Leave it out, or ask another Consul")
        report.close()
    return datacenter


def max_watches(settings: ZoneSettings) -> int:
    """Return how many services are watched one by one."""
    return _EMBEDDED_WATCHES if settings.embedded else settings.consul.max_watches


def _text(path: Path | None) -> str:
    return str(path) if path else ""
