"""Where the parts of an estate are: addresses, files, and the variables that tell commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.demo.hosts import LOOPBACK, Host

SERVED: Final = ("registry", "api", "xds", "metrics", "vault")
"""What has a port of its own."""


@dataclass(slots=True)
class Places:
    """All state is below ``directory``, and everything listens on ``host``.

    ``consul`` is the URL of a real Consul and ``consul_token`` the file with its token, if it
    asks for one; without a URL, the zone embeds a registry.
    """

    directory: Path
    consul: str = ""
    consul_token: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    host: Host = LOOPBACK

    @property
    def consul_url(self) -> str:
        """Consul's HTTP API, real or embedded."""
        return self.consul or f"http://{self.host.at(self.ports['registry'])}"

    @property
    def consul_token_file(self) -> Path | None:
        """File with the registry's token, if it asks for one."""
        return self.consul_token if self.consul else self.directory / "zone" / "registry-token"

    @property
    def zone_api(self) -> str:
        """``host:port`` of the zone's API."""
        return self.host.at(self.ports["api"])

    @property
    def zone_xds(self) -> str:
        """``host:port`` of the zone's xDS server."""
        return self.host.at(self.ports["xds"])

    @property
    def admin_token_file(self) -> Path:
        """File with the zone's admin token."""
        return self.directory / "zone" / "admin-token"

    @property
    def bundle_file(self) -> Path:
        """The mesh's trust bundle, for the command line."""
        return self.directory / "zone" / "bundle.pem"

    def environment(self) -> dict[str, str]:
        """Return the variables with which ``mesh`` commands find this estate."""
        found = {
            "CONSUL_HTTP_ADDR": self.consul_url,
            "MESH_ZONE_API": self.zone_api,
            "MESH_ADMIN_TOKEN_FILE": str(self.admin_token_file),
            "MESH_BUNDLE_FILE": str(self.bundle_file),
        }
        if self.consul_token_file is not None:
            found["CONSUL_HTTP_TOKEN_FILE"] = str(self.consul_token_file)
        return found

    def client(self) -> ConsulClient:
        """Return a client of the registry; the caller closes it."""
        file = self.consul_token_file
        token = file.read_text().strip() if file is not None else ""
        return ConsulClient(ConsulAddress(url=self.consul_url, token=token))
