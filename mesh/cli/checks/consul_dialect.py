"""Which dialect of intentions the servers speak, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, ok, warning
from mesh.clients.consul import ConsulClient, Dialect


class ConsulDialect:
    """Learns the dialect as the zone does."""

    title = "dialect of intentions"
    vital = False

    def __init__(self, consul: ConsulClient) -> None:
        """Ask ``consul``."""
        self._consul = consul

    async def run(self) -> Sequence[Finding]:
        """Name the dialect and what it lacks."""
        if await self._consul.dialect() is Dialect.CONFIG_ENTRIES:
            return [ok("intentions are service-intentions entries: permissions for requests work")]
        remedy = "Upgrade Consul to 1.9 for permissions, to 1.16 for tokens, if you need them."
        return [
            warning(
                "intentions are of the legacy dialect: no permissions for requests (1.9), "
                "no token requirements (1.16)",
                remedy,
            )
        ]
