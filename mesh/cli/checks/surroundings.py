"""What the checks share: who is asked, and what was already learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mesh.aio.clock import Clock, SystemClock
from mesh.cli.facts import Facts, read_facts
from mesh.cli.zone_api import admin_client
from mesh.clients.consul import ConsulClient
from mesh.clients.zone import ZoneAddress, ZoneClient


@dataclass(slots=True)
class Surroundings:
    """One run of the checks."""

    consul: ConsulClient
    clock: Clock = field(default_factory=SystemClock)
    _facts: Facts | None = None

    async def facts(self) -> Facts:
        """Return what Consul holds; asked once.

        Raises:
            ConsulError: Consul did not answer, or refused.

        """
        if self._facts is None:
            self._facts = await read_facts(self.consul)
        return self._facts


@dataclass(frozen=True, slots=True)
class ZonePlace:
    """A zone to check.  ``named``: a person asked for this one, rather than taking the default."""

    address: ZoneAddress
    admin_token_file: Path | None
    named: bool

    def client(self) -> ZoneClient:
        """Return a client that may administer the zone.

        Raises:
            InvalidInputError: the token's file is wrong.

        """
        return admin_client(self.address, self.admin_token_file)
