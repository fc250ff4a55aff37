"""Settings of ``mesh proxy``: a file, ``MESH_PROXY_*`` variables, and the command line.

They are validated here, strictly and all at once, and handed to the agent as one JSON file of plain
values (:meth:`ProxySettings.for_agent`), because the process that stays should not carry what it
takes to validate them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.config import redirected
from mesh.config.certificates import VaultSection, absolute
from mesh.config.loading import load
from mesh.config.types import (
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
from mesh.model.hostport import MAX_PORT
from mesh.model.proxies import GATEWAYS, Role, Upstream

PREFIX: Final = "MESH_PROXY_"
"""How the variables begin; nested settings are joined by ``__``: ``MESH_PROXY_CONSUL__URL``."""

DEFAULT_INBOUND_PORT: Final = 15_006
DEFAULT_INGRESS_PORT: Final = 10_001
DEFAULT_EGRESS_PORT: Final = 10_002
DEFAULT_EDGE_PORT: Final = 10_003
_GATEWAY_PORTS: Final = {
    Role.ZONE_GATEWAY: DEFAULT_INGRESS_PORT,
    Role.EGRESS: DEFAULT_EGRESS_PORT,
    Role.EDGE: DEFAULT_EDGE_PORT,
}
DEFAULT_LISTEN: Final = "127.0.0.1:15020"
_FILES: Final = Path("/etc/mesh/egress")
"""Where an egress gateway finds the files that entries name."""


def _real_ip(value: str) -> str:
    if is_unspecified(checked_ip(value)):
        raise ValueError(f"{value} is every address: name one that callers can reach")
    return value


def _instance(value: str) -> str:
    if not value or not all(each.isascii() and (each.isalnum() or each in "-_.") for each in value):
        raise ValueError(f"{value!r} cannot name an instance: use letters, digits, '-', '_', '.'")
    return value


def _role(value: object) -> object:
    if isinstance(value, str) and value not in set(Role):
        raise ValueError(f"{value!r} is no role: {', '.join(Role)}")
    return Role(value) if isinstance(value, str) else value


def _upstream(value: object) -> object:
    """Read ``service:port``, ``service:address:port`` or either with ``service.zone``."""
    if not isinstance(value, str):
        return value
    name, _, place = value.partition(":")
    address, _, port = place.rpartition(":")
    if not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        raise ValueError(
            f"{value!r} is not an upstream: write service:port, service.zone:port "
            "or service:address:port"
        )
    service, _, zone = name.partition(".")
    address = address.removeprefix("[").removesuffix("]") or "127.0.0.1"
    return Upstream(
        names.service_name(service),
        int(port),
        checked_ip(address),
        names.zone_name(zone) if zone else "",
    )


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
    """All that one proxy is told.  A gateway has a ``role``, and no application."""

    role: Annotated[Role, BeforeValidator(_role)] = Role.SIDECAR
    service: ServiceName
    id: Annotated[str, AfterValidator(_instance)] | None = None
    zone_api: Annotated[tuple[HostPort, ...], Listed, Field(min_length=1)]
    join_token_file: FilePath | None = None
    consul_token_file: FilePath | None = None
    bundle_file: FilePath | None = None
    machine_uuid_file: FilePath | None = None
    state_dir: FilePath
    inbound_address: Ip = "0.0.0.0"  # noqa: S104 - the mesh's side of a sidecar faces the network
    inbound_port: Port = DEFAULT_INBOUND_PORT
    wan_address: HostPort | None = None
    files_dir: FilePath | None = None
    advertise_address: Annotated[str, AfterValidator(_real_ip)] | None = None
    app: HostPort | None = None
    capture: HostPort | None = None
    dns: HostPort | None = None
    upstreams: Annotated[tuple[Annotated[Upstream, BeforeValidator(_upstream)], ...], Listed] = ()
    registration: Literal["consul", "zone", "none"] = "consul"
    tags: Texts = ()
    meta: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    consul: ConsulSection = Field(default_factory=ConsulSection)
    vault: VaultSection | None = None
    health: HealthSection = Field(default_factory=HealthSection)
    listen: HostPort = Field(default_factory=lambda: HostPort.parse(DEFAULT_LISTEN))
    app_metrics_url: Url | None = None
    drain: Duration = timedelta(seconds=30)
    envoy: FilePath | None = None
    concurrency: Annotated[Count, Field(ge=1, le=256)] = 2
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="before")
    @classmethod
    def _of_role(cls, said: object) -> object:
        """Fill in what a gateway need not be told."""
        role = str(said.get("role")) if isinstance(said, dict) else ""
        if not isinstance(said, dict) or role not in _GATEWAY_PORTS:
            return said
        gateway = Role(role)
        named = {"service": GATEWAYS[gateway]} if gateway in GATEWAYS else {}
        return {**named, "inbound_port": _GATEWAY_PORTS[gateway], **said}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = [*self._wrong_proof(), *self._wrong_places()]
        is_sidecar = self.role is Role.SIDECAR
        found += self._wrong_for_sidecar() if is_sidecar else self._wrong_for_gateway()
        found += [
            (f"labels.{name}", "is told by the certificate, not by a label")
            for name in sorted({"service", "zone"} & self.labels.keys())
        ]
        if found:
            raise inconsistent(found)
        return self

    def _wrong_proof(self) -> Iterator[tuple[str, str]]:
        if (self.join_token_file is None) == (self.consul_token_file is None):
            yield "", "give exactly one of join_token_file and consul_token_file"
        elif self.join_token_file is None and self.bundle_file is None:
            message = "is required with consul_token_file (`mesh ca bundle` in the zone prints it)"
            yield "bundle_file", message

    def _wrong_places(self) -> Iterator[tuple[str, str]]:
        if self.app is not None and not _is_dialled(self.app):
            yield "app", "must have an IP address and a port, as in 127.0.0.1:8080"
        places = {(upstream.address, upstream.port) for upstream in self.upstreams}
        if len(places) < len(self.upstreams):
            yield "upstreams", "two of them have the same address and port"
        for name, given, usual in (("capture", self.capture, 15_001), ("dns", self.dns, 15_053)):
            if given is not None and not _is_dialled(given):
                yield name, f"must have an IP address and a port, as in 127.0.0.1:{usual}"
        others = {*places, (self.inbound_address, self.inbound_port)}
        if self.capture is not None and (self.capture.host, self.capture.port) in others:
            yield "capture", "another listener of this proxy has this address"
        if self.dns is not None and self.capture is None:
            yield "dns", "the addresses that it tells are of use only with capture"

    def _wrong_for_sidecar(self) -> Iterator[tuple[str, str]]:
        if not (self.app or self.upstreams or self.capture):
            yield "", "give app, upstreams or capture: a proxy with none has nothing to do"
        if self.service in GATEWAYS.values():
            yield "service", "is the name of the zone's gateways: see `mesh gateway`"
        for name in ("wan_address", "files_dir", "vault"):
            if getattr(self, name) is not None:
                yield name, "is for gateways: see `mesh gateway`"

    def _wrong_for_gateway(self) -> Iterator[tuple[str, str]]:
        for name in ("app", "upstreams", "capture", "dns", "app_metrics_url"):
            if getattr(self, name):
                yield name, f"one in the role {self.role.value} has none"
        yield from self._wrong_name_of_gateway()
        if self.role is Role.EGRESS and self.wan_address is not None:
            yield "wan_address", "is for gateways that other zones dial: nobody dials an egress"
        if self.role is not Role.EGRESS and self.files_dir is not None:
            yield "files_dir", "is for egress gateways"
        if self.role is Role.EDGE:
            yield from self._wrong_for_edge()
        elif self.vault is not None:
            yield "vault", "is for edge gateways: see `mesh gateway --edge`"
        if self.wan_address is not None and not _is_dialled(self.wan_address):
            yield "wan_address", "must have an IP address and a port, as in 192.0.2.1:10001"

    def _wrong_name_of_gateway(self) -> Iterator[tuple[str, str]]:
        role, wanted = self.role.value, GATEWAYS.get(self.role)
        if wanted is not None and self.service != wanted:
            yield "service", f"one in the role {role} is called {wanted}"
        elif wanted is None and self.service in GATEWAYS.values():
            yield "service", f"one in the role {role} has a name of its own, not {self.service}"

    def _wrong_for_edge(self) -> Iterator[tuple[str, str]]:
        if self.wan_address is not None:
            yield "wan_address", "is for zone gateways: clients dial what its listeners say"
        if self.registration == "zone":
            yield "registration", "must be consul or none for an edge gateway"

    def for_agent(self) -> dict[str, Any]:
        """Return the JSON object that :class:`mesh.agent.settings.AgentSettings` reads."""
        proof = "join-token" if self.join_token_file else "consul-token"
        return {
            "role": self.role.value,
            "service": self.service,
            # Without one, the agent keeps the id that it first had on this machine.
            "id": self.id or "",
            "state_dir": absolute(self.state_dir),
            "zone_api": [str(each) for each in self.zone_api],
            "proof_kind": proof,
            "proof_file": absolute(self.join_token_file or self.consul_token_file),
            "bundle_file": absolute(self.bundle_file),
            "machine_uuid_file": absolute(self.machine_uuid_file),
            "inbound": self._inbound(),
            "capture": redirected.place(self.capture),
            "dns": redirected.place(self.dns),
            "advertise_address": self._advertised(),
            "upstreams": [
                {
                    "service": each.service,
                    "port": each.port,
                    "address": each.address,
                    "zone": each.zone,
                }
                for each in self.upstreams
            ],
            "register": self.registration,
            "tags": list(self.tags),
            "files_dir": absolute(self.files_dir or _FILES) if self.role is Role.EGRESS else None,
            "meta": {**self.labels, **self.meta, **self._wan()},
            "labels": self.labels,
            "consul": {
                "url": self.consul.url,
                "token_file": absolute(self.consul.token_file),
                "ca_file": absolute(self.consul.ca_file),
            },
            "vault": self.vault.for_agent() if self.vault else None,
            "health": {
                "kind": self.health.kind,
                "path": self.health.path,
                "interval": self.health.interval.total_seconds(),
            },
            "listen": str(self.listen),
            "app_metrics_url": self.app_metrics_url,
            "drain_seconds": self.drain.total_seconds(),
            "envoy": absolute(self.envoy),
            "concurrency": self.concurrency,
            "log_level": self.log_level,
        }

    def _wan(self) -> dict[str, str]:
        return {names.WAN_META: str(self.wan_address)} if self.wan_address is not None else {}

    def _inbound(self) -> dict[str, Any] | None:
        if self.role is not Role.SIDECAR:
            # A gateway is its own application: that it listens is its health.
            port, address = self.inbound_port, self.inbound_address
            if is_unspecified(address):
                address = "::1" if ":" in address else "127.0.0.1"
            own = {"local_address": address, "local_port": port}
            return {"address": self.inbound_address, "port": port, **own}
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
