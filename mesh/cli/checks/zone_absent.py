"""No zone was named, and none is on this host."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, warning
from mesh.cli.checks.surroundings import ZonePlace


class ZoneAbsent:
    """Stands for the zone's checks where there is nothing to check."""

    title = "a zone to check"
    vital = True

    def __init__(self, place: ZonePlace) -> None:
        """Tell what was looked for."""
        self._place = place

    async def run(self) -> Sequence[Finding]:
        """Say that nothing was checked."""
        text = f"not checked: there is no trust bundle at {self._place.address.bundle_file}"
        remedy = "Run this on the zone's host, or name --zone, --bundle and --admin-token-file."
        return [warning(text, remedy)]
