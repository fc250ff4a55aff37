"""What the checks share: who is asked, and what was already learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from mesh.aio.clock import Clock, SystemClock
from mesh.cli.facts import Facts, read_facts
from mesh.clients.consul import ConsulClient
from mesh.clients.zone import ZoneAddress

ENDS_SOON = timedelta(hours=6)
"""A leaf that lives no longer than this should have been renewed: it lives a day, to its half."""


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
    admin_token_file: Path
    named: bool


def remaining(end: datetime, now: datetime) -> str:
    """Write how long something still lasts."""
    left = end - now
    if left <= timedelta():
        return f"since {end:%Y-%m-%d %H:%M} UTC"
    if left >= timedelta(days=2):
        return f"in {left.days} days"
    return f"in {left.total_seconds() / 3600:.1f} h"
