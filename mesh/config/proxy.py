"""Settings of ``mesh proxy``: a file, ``MESH_PROXY_*`` variables, and the command line.

They are validated here, strictly and all at once, and handed to the agent as one JSON file of plain
values (:meth:`ProxySettings.for_agent`), because the process that stays should not carry what it
takes to validate them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.config.loading import load
from mesh.config.types import (
    MAX_PORT,
    Count,
    Duration,
    FilePath,
    HostPort,
    Ip,
    Listed,
    Section,
    ServiceName,
    Url,
    checked_ip,
    inconsistent,
    is_unspecified,
)
from mesh.model import names
from mesh.model.proxies import Upstream

PREFIX: Final = "MESH_PROXY_"
"""How the variables begin; nested settings are joined by ``__``: ``MESH_PROXY_CONSUL__URL``."""

DEFAULT_INBOUND_PORT: Final = 15_006
DEFAULT_LISTEN: Final = "127.0.0.1:15020"


def _real_ip(value: str) -> str:
    if is_unspecified(checked_ip(value)):
        raise ValueError(f"{value} is every address: name one that callers can reach")
    return value


def _instance(value: str) -> str:
    if not value or not all(each.isascii() and (each.isalnum() or each in "-_.") for each in value):
        raise ValueError(f"{value!r} cannot name an instance: use letters, digits, '-', '_', '.'")
    return value


def _upstream(value: object) -> object:
    """Read ``service:port`` or ``service:address:port``."""
    if not isinstance(value, str):
        return value
    name, _, place = value.partition(":")
    address, _, port = place.rpartition(":")
    if not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        raise ValueError(
            f"{value!r} is not an upstream: write service:port or service:address:port"
        )
    address = address.removeprefix("[").removesuffix("]") or "127.0.0.1"
    return Upstream(names.service_name(name), int(port), checked_ip(address))


Port = Annotated[Count, Field(ge=1, le=MAX_PORT)]
Texts = Annotated[tuple[str, ...], Listed]


class ConsulSection(Section):
    """The Consul agent on this host, for ``registration = "consul"``."""

    url: Url = "http://127.0.0.1:8500"
    token_file: FilePath | None = None
    ca_file: FilePath | None = None


class HealthSection(Section):
    """How the application's health is told."""

    kind: Literal["tcp", "http", "none"] = "tcp"
    path: str = "/"
    interval: Duration = timedelta(seconds=10)


class ProxySettings(Section):
    """All that one proxy is told."""

    service: ServiceName
    id: Annotated[str, AfterValidator(_instance)] | None = None
    zone_api: Annotated[tuple[HostPort, ...], Listed, Field(min_length=1)]
    join_token_file: FilePath | None = None
    consul_token_file: FilePath | None = None
    bundle_file: FilePath | None = None
    state_dir: FilePath
    inbound_address: Ip = "0.0.0.0"  # noqa: S104 - the mesh's side of a sidecar faces the network
    inbound_port: Port = DEFAULT_INBOUND_PORT
    advertise_address: Annotated[str, AfterValidator(_real_ip)] | None = None
    app: HostPort | None = None
    capture: HostPort | None = None
    upstreams: Annotated[tuple[Annotated[Upstream, BeforeValidator(_upstream)], ...], Listed] = ()
    registration: Literal["consul", "zone", "none"] = "consul"
    tags: Texts = ()
    meta: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    consul: ConsulSection = Field(default_factory=ConsulSection)
    health: HealthSection = Field(default_factory=HealthSection)
    listen: HostPort = Field(default_factory=lambda: HostPort.parse(DEFAULT_LISTEN))
    app_metrics_url: Url | None = None
    drain: Duration = timedelta(seconds=30)
    envoy: FilePath | None = None
    concurrency: Annotated[Count, Field(ge=1, le=256)] = 2
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = []
        if (self.join_token_file is None) == (self.consul_token_file is None):
            found.append(("", "give exactly one of join_token_file and consul_token_file"))
        elif self.join_token_file is None and self.bundle_file is None:
            message = "is required with consul_token_file (`mesh ca bundle` in the zone prints it)"
            found.append(("bundle_file", message))
        if self.app is not None and not _is_dialled(self.app):
            found.append(("app", "must have an IP address and a port, as in 127.0.0.1:8080"))
        if self.capture is not None and not _is_dialled(self.capture):
            found.append(("capture", "must have an IP address and a port, as in 127.0.0.1:15001"))
        if not self.app and not self.upstreams and not self.capture:
            found.append(
                ("", "give app, upstreams or capture: a proxy with none has nothing to do")
            )
        places = {(upstream.address, upstream.port) for upstream in self.upstreams}
        if len(places) < len(self.upstreams):
            found.append(("upstreams", "two of them have the same address and port"))
        if self.capture is not None:
            others = {*places, (self.inbound_address, self.inbound_port)}
            if (self.capture.host, self.capture.port) in others:
                found.append(("capture", "another listener of this proxy has this address"))
        found += [
            (f"labels.{name}", "is told by the certificate, not by a label")
            for name in sorted({"service", "zone"} & self.labels.keys())
        ]
        if found:
            raise inconsistent(found)
        return self

    def for_agent(self) -> dict[str, Any]:
        """Return the JSON object that :class:`mesh.agent.settings.AgentSettings` reads."""
        proof = "join-token" if self.join_token_file else "consul-token"
        return {
            "service": self.service,
            "id": self.id or f"{self.service}-{socket.gethostname().partition('.')[0]}",
            "state_dir": _absolute(self.state_dir),
            "zone_api": [str(each) for each in self.zone_api],
            "proof_kind": proof,
            "proof_file": _absolute(self.join_token_file or self.consul_token_file),
            "bundle_file": _absolute(self.bundle_file),
            "inbound": self._inbound(),
            "capture": str(self.capture) if self.capture else None,
            "advertise_address": self._advertised(),
            "upstreams": [
                {"service": each.service, "port": each.port, "address": each.address}
                for each in self.upstreams
            ],
            "register": self.registration,
            "tags": list(self.tags),
            "meta": {**self.labels, **self.meta},
            "labels": self.labels,
            "consul": {
                "url": self.consul.url,
                "token_file": _absolute(self.consul.token_file),
                "ca_file": _absolute(self.consul.ca_file),
            },
            "health": {
                "kind": self.health.kind,
                "path": self.health.path,
                "interval": self.health.interval.total_seconds(),
            },
            "listen": str(self.listen),
            "app_metrics_url": self.app_metrics_url,
            "drain_seconds": self.drain.total_seconds(),
            "envoy": _absolute(self.envoy),
            "concurrency": self.concurrency,
            "log_level": self.log_level,
        }

    def _inbound(self) -> dict[str, Any] | None:
        if self.app is None:
            return None
        return {
            "address": self.inbound_address,
            "port": self.inbound_port,
            "local_address": self.app.host,
            "local_port": self.app.port,
        }

    def _advertised(self) -> str | None:
        if self.advertise_address is not None:
            return self.advertise_address
        return None if is_unspecified(self.inbound_address) else self.inbound_address


def load_proxy(file: Path | None, overrides: Mapping[str, Any]) -> ProxySettings:
    """Read the settings; ``overrides`` is what the command line says.

    Raises:
        InvalidInputError: with every violation.

    """
    return load(ProxySettings, prefix=PREFIX, file=file, overrides=overrides)


def _is_dialled(place: HostPort) -> bool:
    try:
        checked_ip(place.host)
    except ValueError:
        return False
    return place.port > 0


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None
