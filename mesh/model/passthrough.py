"""Calls that leave the mesh: what a proxy lets through to hosts that it knows nothing about.

Values only; it matters where a proxy captures all that its application sends.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PassthroughMode(enum.StrEnum):
    """How much passes."""

    ALL = "all"
    MATCHED = "matched"
    NONE = "none"


class HostKind(enum.StrEnum):
    """How a host is named."""

    DOMAIN = "domain"
    """An exact name, or ``*.`` and a name for everything below it."""
    IP = "ip"
    CIDR = "cidr"


class HostProtocol(enum.StrEnum):
    """What is spoken to a host, and so how it can be told: address, SNI or ``Host``."""

    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class PassthroughMatch:
    """Hosts that may be called; ``port`` None means any."""

    kind: HostKind
    value: str
    protocol: HostProtocol = HostProtocol.TCP
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Passthrough:
    """What passes.  ``matches`` (any one of them) belong to ``MATCHED`` only."""

    mode: PassthroughMode
    matches: tuple[PassthroughMatch, ...] = ()
