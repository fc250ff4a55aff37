"""Which Consul it is."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.clients.consul import ConsulClient, Forbidden

OLDEST = (1, 8)
"""The oldest version that the mesh is tested with."""


class ConsulVersion:
    """Reads the agent's own version."""

    title = "Consul's version"
    vital = False

    def __init__(self, consul: ConsulClient) -> None:
        """Ask ``consul``."""
        self._consul = consul

    async def run(self) -> Sequence[Finding]:
        """Compare the version with what the mesh needs."""
        try:
            config = (await self._consul.agent_self()).get("Config") or {}
        except Forbidden:
            remedy = 'Give the token `agent_prefix "" { policy = "read" }` to see it.'
            return [warning("the version is hidden from this token", remedy)]
        return [judge(str(config.get("Version", "")), str(config.get("Datacenter", "")))]


def judge(version: str, datacenter: str) -> Finding:
    """Say whether ``version`` will do."""
    parts = version.split("+", maxsplit=1)[0].split("-", maxsplit=1)[0].split(".")
    if len(parts) < len(OLDEST) or not all(part.isdigit() for part in parts):
        remedy = "Check that nothing stands between this host and Consul."
        return warning(f"the version {version!r} cannot be read", remedy)
    if tuple(map(int, parts)) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return failure(f"Consul {version} is too old", f"Upgrade it to {wanted} or newer.")
    return ok(f"Consul {version}, datacenter {datacenter}")
