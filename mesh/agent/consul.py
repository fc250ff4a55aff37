"""The local Consul agent, as far as a proxy needs it: three calls.

The control plane's client (:mod:`mesh.clients.consul`) does far more and weighs 15 MB with what
it imports; this process lives on every host of the mesh and has 45 in all.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import quote, urlsplit

from mesh.agent import http
from mesh.agent.errors import AgentError
from mesh.agent.settings import Consul

_ABSENT: Final = 404
_FORBIDDEN: Final = 403


class ConsulError(AgentError):
    """The local Consul agent did not do what it was asked."""


class ConsulAgent:
    """Registers services with the Consul agent on this host."""

    def __init__(self, settings: Consul) -> None:
        """``settings`` say where it is and how to be let in."""
        self._settings = settings

    async def register(self, service: dict[str, Any]) -> None:
        """Add or replace a service, its checks included."""
        await self._ask("PUT", "/v1/agent/service/register?replace-existing-checks=true", service)

    async def deregister(self, service: str) -> None:
        """Remove the service with this id; one that is not there is fine."""
        await self._ask("PUT", f"/v1/agent/service/deregister/{quote(service, safe='')}")

    async def has(self, service: str) -> bool:
        """Whether a service with this id is registered."""
        return (await self._look(service)).status != _ABSENT

    async def find(self, service: str) -> dict[str, Any] | None:
        """Return the service with this id as Consul's agent knows it; None if it does not."""
        answer = await self._look(service)
        if answer.status == _ABSENT:
            return None
        try:
            said = answer.json()
        except http.RequestError as error:
            raise ConsulError(
                f"Consul's answer about {service} cannot be read: {error}",
                "Is consul.url the address of a Consul agent?",
            ) from error
        return said if isinstance(said, dict) else {}

    async def _look(self, service: str) -> http.Response:
        return await self._ask("GET", f"/v1/agent/service/{quote(service, safe='')}")

    async def _ask(self, method: str, path: str, body: object = None) -> http.Response:
        url = self._settings.url.rstrip("/")
        server, target = http.from_url(url + path, self._tls())
        try:
            answer = await http.request(server, method, target, body=body, headers=self._token())
        except http.RequestError as error:
            raise ConsulError(
                f"Consul at {url} does not answer: {error}",
                "Does the Consul agent run on this host? Set consul.url, or registration to zone "
                "where there is none.",
            ) from error
        if answer.ok or answer.status == _ABSENT:
            return answer
        reason = answer.body.decode(errors="replace").strip()
        raise ConsulError(
            f"Consul at {url} answered {method} {path.partition('?')[0]} with {answer.status}: "
            f"{reason}",
            "The token in consul.token_file needs service:write on the service and on its "
            "sidecar (a service identity gives both)."
            if answer.status == _FORBIDDEN
            else "See the Consul agent's log.",
        )

    def _tls(self) -> ssl.SSLContext | None:
        file = self._settings.ca_file
        if file is None or urlsplit(self._settings.url).scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            raise ConsulError(
                f"{file} cannot be used: {error.strerror or error}",
                "consul.ca_file names the certificate, in PEM, of the authority that Consul's API "
                "is under.",
            ) from error

    def _token(self) -> dict[str, str]:
        file = self._settings.token_file
        if file is None:
            return {}
        try:
            token = file.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise ConsulError(
                f"{file} cannot be read: {error.strerror}", "Put the Consul token there."
            ) from error
        # Checked here: the HTTP library refuses it too, and quotes it when it does.
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConsulError(
                f"{file} holds more than a token", "Put the Consul token there alone."
            )
        return {"X-Consul-Token": token}
