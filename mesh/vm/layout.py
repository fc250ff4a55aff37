"""Where everything of the mesh is on a host: the names that units, roles and commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

USER: Final = "mesh"
"""User and group of the proxies."""
HOME: Final = "/var/lib/mesh"
TARGET: Final = "mesh.target"
CAPTURE_UNIT: Final = "mesh-capture.service"
BACKOFF: Final = "backoff.conf"
"""A drop-in for every unit of the mesh."""
TEMPLATE: Final = "mesh-proxy@.service"
OTHER_UNITS: Final = ("mesh-zone.service", "mesh-gateway.service", "mesh-ratelimit.service")
"""What else of the mesh may run on a host, and is none of ``mesh vm``'s business."""
OTHER_SETTINGS: Final = ("zone.yaml", "gateway.yaml", "ratelimit.yaml", "ratelimit.toml")
"""Likewise, in ``/etc/mesh``."""

_STRIDE: Final = 10
_INBOUND: Final = 15_006
_OUTBOUND: Final = 15_001
_LISTEN: Final = 15_020
MOST_SERVICES: Final = 64
"""Services that a host may have by way of ``mesh vm``."""
DNS: Final = "127.0.0.1:15053"
"""Where the one proxy of a host that answers names does so."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the ``index``-th service of a host, from 0."""

    index: int

    @property
    def inbound(self) -> int:
        """Where callers are served."""
        return _INBOUND + _STRIDE * self.index

    @property
    def outbound(self) -> int:
        """Where captured connections go."""
        return _OUTBOUND + _STRIDE * self.index

    @property
    def listen(self) -> int:
        """Readiness, metrics and status, on loopback."""
        return _LISTEN + _STRIDE * self.index


@dataclass(frozen=True, slots=True)
class Layout:
    """The places, below ``root``."""

    root: Path = Path("/")

    @property
    def etc(self) -> Path:
        """The settings."""
        return self.root / "etc/mesh"

    @property
    def units(self) -> Path:
        """The units that were installed here."""
        return self.root / "etc/systemd/system"

    @property
    def home(self) -> Path:
        """The home of the user, with the state of each service in it."""
        return self.root / HOME.lstrip("/")

    @property
    def program(self) -> Path:
        """What the units start."""
        return self.root / "usr/local/bin/mesh"

    @property
    def backoff(self) -> Path:
        """The drop-in that lets programs that cannot start be started less and less often."""
        return self.units / "mesh-.service.d" / BACKOFF

    @property
    def consul_token(self) -> Path:
        """The token of this host's Consul agent, where it wants one; an operator puts it there."""
        return self.etc / "consul.token"

    @property
    def capture(self) -> Path:
        """The settings of the capture."""
        return self.etc / "capture.yaml"

    @property
    def record(self) -> Path:
        """What the first join on this host made that others may have made."""
        return self.etc / ".vm.json"

    def settings(self, service: str) -> Path:
        """Return the settings of a service's proxy."""
        return self.etc / f"proxy-{service}.yaml"

    def token(self, service: str) -> Path:
        """Return the join token of a service's proxy."""
        return self.etc / f"proxy-{service}.token"

    def state(self, service: str) -> Path:
        """Return what a service's proxy remembers."""
        return self.home / service

    def services(self, names: frozenset[str]) -> tuple[str, ...]:
        """Return the services whose settings are among the file ``names`` of ``etc``, in order."""
        return tuple(
            sorted(
                each.removeprefix("proxy-").removesuffix(".yaml")
                for each in names
                if each.startswith("proxy-") and each.endswith(".yaml")
            )
        )


def unit(service: str) -> str:
    """Return the unit of a service's proxy."""
    return TEMPLATE.replace("@", f"@{service}")


def service_of(unit: str) -> str:
    """Return the service whose proxy a unit is."""
    return unit.partition("@")[2].removesuffix(".service")
