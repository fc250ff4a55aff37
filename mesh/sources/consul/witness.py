"""What any token that can do the mesh's work must be able to read.

Each witness answers True (it is there), False (it was there once and is hidden now), or None
(it never could be read, so its absence says nothing).  See :mod:`~mesh.sources.consul.guard`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.clients.consul import ConsulClient
from mesh.sources.consul.knowledge import CONSUL


class Witnesses:
    """Remembers which witnesses were ever readable."""

    def __init__(self, client: ConsulClient) -> None:
        """Ask through ``client``."""
        self._client = client
        self._service_seen = False
        self._instance_seen = False

    def saw_catalog(self, services: Iterable[str]) -> None:
        """Learn from a catalog that is believed."""
        self._service_seen = self._service_seen or CONSUL in services

    async def prepare(self) -> None:
        """Look at the instances' witness while all is well, until it was seen once."""
        if not self._instance_seen:
            await self.instances()

    async def services(self) -> bool | None:
        """For the catalog, intentions and configuration: Consul's own service is listed."""
        there = CONSUL in (await self._client.catalog_services()).value
        self._service_seen = self._service_seen or there
        return there if self._service_seen else None

    async def instances(self) -> bool | None:
        """For instances: Consul's own instances are listed, so services and nodes are readable."""
        there = bool((await self._client.health_service(CONSUL)).value)
        self._instance_seen = self._instance_seen or there
        return there if self._instance_seen else None

    async def keys(self, prefix: str) -> bool:
        """For what is below ``prefix``: Consul says that our token may read it.

        Where it does not say (without ACLs), something of the mesh must be left in the KV store:
        it was readable once, so nothing at all means that the store is another.
        """
        may = await self._client.may_read_keys(prefix)
        if may is not None:
            return may
        return bool((await self._client.kv_keys("mesh/", separator="/")).value)
