"""What becomes of calls that no intention covers."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, ok, warning
from mesh.clients.consul import ConsulClient


class ConsulDefaultPolicy:
    """Learns the default policy as the zone does."""

    title = "default policy"
    vital = False

    def __init__(self, consul: ConsulClient) -> None:
        """Ask ``consul``."""
        self._consul = consul

    async def run(self) -> Sequence[Finding]:
        """Say whether the mesh is closed by default."""
        allow = await self._consul.default_allow()
        if allow is None:
            return [ok("an intention from * to * decides whatever no other covers")]
        if not allow:
            return [ok("a call that no intention covers is denied")]
        remedy = "`mesh intention deny '*' '*'` closes it; before, allow the calls that you need."
        return [warning("a call that no intention covers is allowed", remedy)]
