"""Consul answers, and has a leader."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok
from mesh.clients.consul import ConsulClient


class ConsulReachable:
    """Asks who leads, which no ACL of Consul's forbids."""

    title = "Consul answers"
    vital = True

    def __init__(self, consul: ConsulClient) -> None:
        """Ask ``consul``."""
        self._consul = consul

    async def run(self) -> Sequence[Finding]:
        """Look for a leader."""
        url = self._consul.address.url
        token = self._consul.address.token
        headers = {"X-Consul-Token": token} if token else {}
        reply = await self._consul.transport.request("GET", "/v1/status/leader", headers=headers)
        try:
            leader = json.loads(reply.body) if reply.found else None
        except ValueError:
            leader = None
        if not isinstance(leader, str):
            remedy = "Correct --consul or CONSUL_HTTP_ADDR: it must be an agent's HTTP API."
            return [failure(f"what answers at {url} is not Consul", remedy)]
        if not leader:
            remedy = "Look at the Consul servers: `consul operator raft list-peers`."
            return [failure(f"Consul at {url} has no leader", remedy)]
        return [ok(f"Consul at {url} answers and has a leader")]
