"""The agent's settings as ``mesh proxy`` hands them over: already validated, one JSON file.

:mod:`mesh.config.proxy` has the strict model with the messages for people; here the same values
become a frozen dataclass without loading the validating library into a process that runs for
months.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

from mesh.agent.errors import SettingsError
from mesh.model import hostport
from mesh.model.proxies import Capture, Inbound, ProxyNeed, Role, Upstream

Address = tuple[str, int]
"""A host and a port."""

_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - names them, binds nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Consul:
    """The local Consul agent; ``url`` is like ``http://127.0.0.1:8500``."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How the application's health is told: a TCP connect, an HTTP GET of ``path``, or not."""

    kind: Literal["tcp", "http", "none"] = "tcp"
    path: str = "/"
    interval: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where an edge gateway's certificates are; logged in to by a token or by AppRole.

    ``refresh`` (seconds) is how often a secret is read again.
    """

    address: str
    ca_file: Path | None = None
    namespace: str = ""
    token_file: Path | None = None
    role_id_file: Path | None = None
    secret_id_file: Path | None = None
    approle_mount: str = "approle"
    refresh: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """All that one agent is told.  Durations are seconds.

    An empty ``id`` is for :func:`mesh.agent.binding.bound` to fill in.
    """

    service: str
    id: str
    state_dir: Path
    zone_api: tuple[Address, ...]
    proof_kind: Literal["join-token", "consul-token"]
    proof_file: Path
    bundle_file: Path | None = None
    machine_uuid_file: Path | None = None
    role: Role = Role.SIDECAR
    inbound: Inbound | None = None
    capture: Capture | None = None
    dns: Capture | None = None
    advertise_address: str | None = None
    upstreams: tuple[Upstream, ...] = ()
    register: Literal["consul", "zone", "none"] = "none"
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    files_dir: Path | None = None
    consul: Consul = field(default_factory=lambda: Consul(url="http://127.0.0.1:8500"))
    vault: Vault | None = None
    health: HealthCheck = field(default_factory=HealthCheck)
    listen: Address = ("127.0.0.1", 15_020)
    app_metrics_url: str | None = None
    drain_seconds: float = 30.0
    envoy: Path | None = None
    concurrency: int = 2
    log_level: str = "info"
    version: str = ""
    """Of the mesh that wrote the settings, which is the agent's own."""

    def need(self, zone: str) -> ProxyNeed:
        """Return what the renderer is told of this proxy in ``zone``."""
        return ProxyNeed(
            self.service,
            zone,
            self.inbound,
            self.upstreams,
            role=self.role,
            id=self.id,
            labels=tuple(sorted(self.labels.items())),
            capture=self.capture,
            dns=self.dns,
            metrics=self._metrics_place(),
        )

    def _metrics_place(self) -> str:
        """Return where the zone can ask this agent how calls go; empty if nowhere.

        Without a host it is the address from which the proxy came to the zone.
        """
        host, port = self.listen
        if host in _ANYWHERE:
            host = self.advertise_address or ""
        elif not _is_asked_from(host, self.advertise_address or ""):
            return ""
        return hostport.join(host, port)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what ``mesh proxy`` wrote.

        Raises:
            SettingsError: the file is missing or of another version.

        """
        try:
            return cls.from_json(json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"{file} is not an agent's settings: {error!r}",
                "Start the agent with `mesh proxy`, which writes this file.",
            ) from error

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Read the JSON object that :meth:`mesh.config.proxy.ProxySettings.for_agent` makes."""
        inbound = raw.get("inbound")
        capture, dns = raw.get("capture"), raw.get("dns")
        consul = raw["consul"]
        vault = raw.get("vault")
        return cls(
            **{
                **raw,
                "role": Role(raw["role"]),
                "state_dir": Path(raw["state_dir"]),
                "zone_api": tuple(_address(each) for each in raw["zone_api"]),
                "proof_file": Path(raw["proof_file"]),
                "bundle_file": _path(raw.get("bundle_file")),
                "machine_uuid_file": _path(raw.get("machine_uuid_file")),
                "inbound": Inbound(**inbound) if inbound else None,
                "capture": Capture(**capture) if capture else None,
                "dns": Capture(**dns) if dns else None,
                "upstreams": tuple(Upstream(**each) for each in raw["upstreams"]),
                "tags": tuple(raw["tags"]),
                "files_dir": _path(raw.get("files_dir")),
                "consul": Consul(
                    url=consul["url"],
                    token_file=_path(consul.get("token_file")),
                    ca_file=_path(consul.get("ca_file")),
                ),
                "vault": _vault(vault) if vault else None,
                "health": HealthCheck(**raw["health"]),
                "listen": _address(raw["listen"]),
                "envoy": _path(raw.get("envoy")),
            }
        )


def _vault(raw: dict[str, Any]) -> Vault:
    files = {name: _path(raw[name]) for name in raw if name.endswith("_file")}
    return Vault(**{**raw, **files})


def _is_asked_from(host: str, advertised: str) -> bool:
    """Whether others reach ``host``: not if it is loopback and they are on other hosts."""
    try:
        if not ipaddress.ip_address(host).is_loopback:
            return True
        return ipaddress.ip_address(advertised).is_loopback
    except ValueError:
        return False


def _address(raw: object) -> Address:
    return hostport.split(cast("str", raw))


def _path(raw: str | None) -> Path | None:
    return Path(raw) if raw else None
