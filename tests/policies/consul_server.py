"""A real Consul as an oracle for verdicts."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mesh.model.intentions import Action, Intention
from tests.realconsul import RealConsul


class Consul:
    """Keep one connection, and one set of intentions, on a Consul server."""

    def __init__(self, port: int, token: str) -> None:
        """Talk to 127.0.0.1:``port`` with ``token``, if any."""
        self._headers = {"X-Consul-Token": token} if token else {}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._held: dict[tuple[str, str], tuple[str, Action]] = {}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def hold(self, intentions: tuple[Intention, ...]) -> None:
        """Make the server hold exactly ``intentions``, by what differs."""
        wanted = {(each.source, each.destination): each.action for each in intentions}
        for pair in set(self._held) - set(wanted):
            self._request("DELETE", f"/v1/connect/intentions/{self._held.pop(pair)[0]}")
        for pair, action in wanted.items():
            assert action is not None
            known = self._held.get(pair)
            body = {"SourceName": pair[0], "DestinationName": pair[1], "Action": action.value}
            body["SourceType"] = "consul"
            if known is None:
                answer = self._request("POST", "/v1/connect/intentions", json.dumps(body))
                self._held[pair] = (answer["ID"], action)
            elif known[1] is not action:
                self._request("PUT", f"/v1/connect/intentions/{known[0]}", json.dumps(body))
                self._held[pair] = (known[0], action)

    def allows(self, source: str, destination: str) -> bool:
        """Return Consul's own verdict."""
        query = urlencode({"source": source, "destination": destination})
        answer = self._request("GET", f"/v1/connect/intentions/check?{query}")
        return bool(answer["Allowed"])

    def _request(self, method: str, path: str, body: str | None = None) -> Any:
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {response.status} {content.decode()}")
        return json.loads(content) if content else None


@contextmanager
def consul(directory: Path, *, default_allow: bool) -> Iterator[Consul]:
    """Run a server whose default is ``default_allow``: ACLs off, or on and denying."""
    with RealConsul(directory, acls=not default_allow) as server:
        client = Consul(server.port, server.token)
        try:
            yield client
        finally:
            client.close()
