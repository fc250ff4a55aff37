"""A real Consul as an oracle for discovery chains."""

from __future__ import annotations

import http.client
import json
from typing import Any

_ORDER = (
    "service-router",
    "service-splitter",
    "service-resolver",
    "service-defaults",
    "proxy-defaults",
)
"""Kinds in the order in which they can be deleted: first what refers to others."""


class Chains:
    """Writes entries to a Consul server and reads the chains that it makes of them."""

    def __init__(self, port: int) -> None:
        """Talk to 127.0.0.1:``port``."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.held: dict[tuple[str, str], dict[str, Any]] = {}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def clear(self) -> None:
        """Delete every entry that was written."""
        while self.held:
            before = len(self.held)
            for kind, name in sorted(self.held, key=lambda each: _ORDER.index(each[0])):
                status, _ = self._request("DELETE", f"/v1/config/{kind}/{name}")
                if status == http.client.OK:
                    del self.held[kind, name]
            if len(self.held) == before:
                raise RuntimeError(f"Consul lets none of these be deleted: {sorted(self.held)}")

    def write(self, entry: dict[str, Any]) -> str:
        """Write an entry; return why it was refused, empty if it was not."""
        status, content = self._request("PUT", "/v1/config", json.dumps(entry))
        if status != http.client.OK:
            return content
        self.held[entry["Kind"], entry["Name"]] = entry
        return ""

    def chain(self, service: str) -> dict[str, Any] | None:
        """Return the chain of ``service``; None if its entries make none."""
        status, content = self._request("GET", f"/v1/discovery-chain/{service}")
        if status == http.client.OK:
            found: dict[str, Any] = json.loads(content)["Chain"]
            return found
        if status != http.client.INTERNAL_SERVER_ERROR:
            raise RuntimeError(f"discovery-chain/{service}: {status} {content}")
        return None

    def _request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        return response.status, response.read().decode()
