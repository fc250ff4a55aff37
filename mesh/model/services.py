"""Services and their instances, as the data path sees them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_META: Mapping[str, str] = MappingProxyType({})


class Protocol(enum.StrEnum):
    """What a service speaks (Consul's ``service-defaults`` ``Protocol``)."""

    TCP = "tcp"
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"

    @property
    def is_http(self) -> bool:
        """Whether requests can be told apart on a connection."""
        return self is not Protocol.TCP


class Health(enum.StrEnum):
    """The worst of an instance's checks, node checks included."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Registration:
    """How an instance is registered, as far as only a resolver's ``Filter`` asks.

    ``name`` is the sidecar's, ``kind`` is empty where the service itself speaks the mesh's TLS,
    and ``address`` where it is registered without one; ``passing`` and ``warning`` are weights.
    """

    name: str
    kind: str = "connect-proxy"
    address: str = ""
    node_address: str = ""
    passing: int = 1
    warning: int = 1


@dataclass(frozen=True, slots=True)
class Instance:
    """One place where a service answers: the inbound listener of its sidecar.

    ``address`` is an IPv4 or IPv6 literal, ``port`` that of the sidecar, ``id`` the sidecar's
    registration, unique on its ``node``.  ``weight`` is Consul's for the instance's health.
    """

    id: str
    node: str
    address: str
    port: int
    health: Health = Health.PASSING
    weight: int = 1
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=lambda: NO_META)
    node_meta: Mapping[str, str] = field(default_factory=lambda: NO_META)
    registration: Registration | None = None
