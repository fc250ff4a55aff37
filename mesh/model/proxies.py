"""What one proxy needs from the mesh: its role, its inbound side, its upstreams.

The agent writes a :class:`ProxyNeed` into the Envoy node's metadata; the zone reads it from
the first xDS request, checks it against the certificate, and renders from it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from mesh.model import names

METADATA_KEY = "mesh"
"""Key of the Envoy node's metadata under which the need travels."""


class Role(enum.StrEnum):
    """What a proxy is for."""

    SIDECAR = "sidecar"
    ZONE_GATEWAY = "zone-gateway"
    """Lets calls from other zones in, by name and without decrypting them."""
    EDGE = "edge"
    """Serves clients outside the mesh, and calls services as a sidecar does."""
    EGRESS = "egress"
    """Lets calls out: to other zones as they are, to external services if intentions allow it."""


GATEWAYS: Mapping[Role, str] = MappingProxyType(
    {Role.ZONE_GATEWAY: names.ZONE_GATEWAY, Role.EGRESS: names.ZONE_EGRESS}
)
"""What gateways are called, and nobody else may be."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """Where the sidecar listens for the mesh, and where it finds its application.

    Addresses are IP literals; ports are 1 to 65535.
    """

    address: str
    port: int
    local_address: str
    local_port: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that the application dials at ``address``:``port`` on its own host.

    With a ``zone`` it is only ever that one's.
    """

    service: str
    port: int
    address: str = "127.0.0.1"
    zone: str = ""

    @property
    def called(self) -> str:
        """What calls to it are known as: ``api``, or ``api@west``."""
        return f"{self.service}@{self.zone}" if self.zone else self.service


@dataclass(frozen=True, slots=True)
class Capture:
    """Where the proxy takes what was redirected to it: connections, or questions for names.

    ``also`` is a second address of the same port, empty if there is none: what the kernel
    redirects arrives at the loopback address of its own family.
    """

    address: str
    port: int
    also: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Both addresses, or the one."""
        return (self.address, self.also) if self.also else (self.address,)

    def to_metadata(self) -> dict[str, Any]:
        """Return the JSON object that a need carries."""
        return {
            "address": self.address,
            "port": self.port,
            **({"also": self.also} if self.also else {}),
        }


@dataclass(frozen=True, slots=True)
class ProxyNeed:
    """All that the renderer knows of one proxy.

    ``inbound`` is None for a proxy that only calls.  ``id`` is that of its instance; policies
    select by it and by :attr:`all_labels`.  With ``capture`` the application may call any service
    by its virtual address; where there is ``dns`` it learns those by name.  ``metrics`` is where
    its agent tells how calls go, ``host:port`` with an IP literal or, for the address that the
    proxy comes from, none; it is empty if the zone cannot ask.
    """

    service: str
    zone: str
    inbound: Inbound | None
    upstreams: tuple[Upstream, ...] = ()
    role: Role = Role.SIDECAR
    id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    capture: Capture | None = None
    metrics: str = ""
    dns: Capture | None = None

    @property
    def all_labels(self) -> dict[str, str]:
        """What policies select by: the proxy's own labels, its ``service`` and its ``zone``."""
        return {**dict(self.labels), "service": self.service, "zone": self.zone}

    @property
    def locality(self) -> str:
        """Where the proxy stands, by its label ``locality``; empty if nobody said."""
        return dict(self.labels).get("locality", "")

    def to_metadata(self) -> dict[str, Any]:
        """Return the JSON object that :func:`mesh.model.need_metadata.parse` reads."""
        return {
            "role": self.role.value,
            "service": self.service,
            "zone": self.zone,
            "inbound": asdict(self.inbound) if self.inbound else None,
            "upstreams": [_upstream(upstream) for upstream in self.upstreams],
            "id": self.id,
            "labels": dict(self.labels),
            **({"capture": self.capture.to_metadata()} if self.capture else {}),
            **({"dns": self.dns.to_metadata()} if self.dns else {}),
            **({"metrics": self.metrics} if self.metrics else {}),
        }


def _upstream(one: Upstream) -> dict[str, Any]:
    said = asdict(one)
    # A zone of an earlier release knows no such field.
    return said if one.zone else {name: value for name, value in said.items() if name != "zone"}
