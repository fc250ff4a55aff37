"""Consul's configuration entries about traffic, as it says them.

Values only; what they mean together is in ``routing.chain``.  Source: Consul's reference of
configuration entries (service-defaults, proxy-defaults, service-router, service-splitter,
service-resolver, ingress-gateway).  Durations are seconds; 0 or None where nothing was said.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.model.destinations import Limits, LoadBalancing, Outlier
from mesh.model.edge import Edge
from mesh.model.filters import Filter
from mesh.model.requests import NO_EDITS, HeaderEdits, Match
from mesh.model.services import Protocol

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class GatewayMode(enum.StrEnum):
    """``MeshGateway.Mode``: by whose gateway calls to another zone go; empty where it is unsaid."""

    UNSAID = ""
    NONE = "none"
    LOCAL = "local"
    """By a gateway of the caller's own zone, an egress, first."""
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class UpstreamDefaults:
    """``UpstreamConfig``: how a service treats one of its upstreams, or all."""

    limits: Limits | None = None
    outlier: Outlier | None = None
    connect_timeout: float | None = None
    gateway: GatewayMode = GatewayMode.UNSAID


NO_UPSTREAM_DEFAULTS = UpstreamDefaults()


@dataclass(frozen=True, slots=True)
class ServiceDefaults:
    """What a ``service-defaults`` entry says.  No protocol means tcp, as in Consul.

    ``upstreams`` are the overrides by name; what one leaves unsaid ``upstream`` says.
    """

    name: str
    protocol: Protocol = Protocol.TCP
    external_sni: str = ""
    upstream: UpstreamDefaults = NO_UPSTREAM_DEFAULTS
    upstreams: Mapping[str, UpstreamDefaults] = field(default_factory=lambda: _EMPTY)
    max_inbound_connections: int = 0
    local_connect_timeout: float | None = None
    local_request_timeout: float | None = None
    gateway: GatewayMode = GatewayMode.UNSAID


@dataclass(frozen=True, slots=True)
class ProxyDefaults:
    """What ``proxy-defaults`` ``global`` says."""

    protocol: Protocol = Protocol.TCP
    gateway: GatewayMode = GatewayMode.UNSAID


@dataclass(frozen=True, slots=True)
class LinkedService:
    """A service that the ``terminating-gateway`` entry of the egress gateways names.

    It has no sidecar: the gateways dial what is registered, by TLS if there is a ``ca_file``.
    Files are paths below the gateways' directory for them.
    """

    name: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    sni: str = ""


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """Where a router's route sends; an empty ``service`` means the router's own.

    A negative timeout turns Envoy's off.
    """

    service: str = ""
    subset: str = ""
    prefix_rewrite: str = ""
    request_timeout: float = 0.0
    idle_timeout: float = 0.0
    retries: int = 0
    retry_on: tuple[str, ...] = ()
    retry_on_connect_failure: bool = False
    retry_statuses: tuple[int, ...] = ()
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


@dataclass(frozen=True, slots=True)
class RouterRoute:
    """One of a router's routes."""

    match: Match
    destination: RouteDestination = RouteDestination()


@dataclass(frozen=True, slots=True)
class Router:
    """A ``service-router`` entry."""

    name: str
    routes: tuple[RouterRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """One share of a splitter: ``weight`` is a percentage, precise to a hundredth."""

    weight: float
    service: str = ""
    subset: str = ""
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


@dataclass(frozen=True, slots=True)
class Splitter:
    """A ``service-splitter`` entry."""

    name: str
    splits: tuple[Split, ...]


@dataclass(frozen=True, slots=True)
class Subset:
    """One of a resolver's subsets; no filter means every instance."""

    filter: Filter | None = None
    only_passing: bool = False
    text: str = ""
    """The filter as it was written."""


@dataclass(frozen=True, slots=True)
class FailoverTarget:
    """Where a resolver turns to; empty fields mean the resolver's own."""

    service: str = ""
    subset: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class ResolverRedirect:
    """Where a resolver sends everything."""

    service: str = ""
    subset: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Resolver:
    """A ``service-resolver`` entry.  ``failover`` is by subset, ``*`` for the others."""

    name: str
    default_subset: str = ""
    subsets: Mapping[str, Subset] = field(default_factory=lambda: _EMPTY)
    redirect: ResolverRedirect | None = None
    failover: Mapping[str, tuple[FailoverTarget, ...]] = field(default_factory=lambda: _EMPTY)
    connect_timeout: float = 0.0
    request_timeout: float = 0.0
    balancing: LoadBalancing | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """Every entry about traffic, each kind by the service's name."""

    service_defaults: Mapping[str, ServiceDefaults] = field(default_factory=lambda: _EMPTY)
    proxy_defaults: ProxyDefaults = field(default_factory=ProxyDefaults)
    routers: Mapping[str, Router] = field(default_factory=lambda: _EMPTY)
    splitters: Mapping[str, Splitter] = field(default_factory=lambda: _EMPTY)
    resolvers: Mapping[str, Resolver] = field(default_factory=lambda: _EMPTY)
    edges: Mapping[str, Edge] = field(default_factory=lambda: _EMPTY)
    linked: Mapping[str, LinkedService] = field(default_factory=lambda: _EMPTY)

    def protocol(self, service: str) -> Protocol:
        """Return what ``service`` speaks: its service-defaults, else proxy-defaults, else tcp."""
        entry = self.service_defaults.get(service)
        return entry.protocol if entry is not None else self.proxy_defaults.protocol
