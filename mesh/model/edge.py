"""What an edge gateway serves to clients outside the mesh: listeners, and services behind them.

Consul's ``ingress-gateway`` entries and the policies MeshGateway both end here.  What becomes of a
request once its service is known is not said here: the gateway calls the service as any sidecar
would, and the service's own routes hold (see ``model.traffic``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mesh.model.certificates import CertificateSource
from mesh.model.requests import NO_EDITS, HeaderEdits

ANY_HOST = "*"
"""A host of a service that is served under every name nobody else has."""
EVERY_SERVICE = "*"
"""Stands for each service that speaks HTTP, under the names that Consul gives it."""


def default_host(service: str) -> str:
    """Return the host under which an entry serves ``service`` if it names none, as in Consul."""
    return f"{service}.ingress.*"


class EdgeProtocol(enum.StrEnum):
    """What clients speak to a listener."""

    HTTP = "http"
    HTTPS = "https"
    TCP = "tcp"
    TLS = "tls"
    """TLS that is not ended here: the service is chosen by the name asked for (SNI)."""

    @property
    def is_http(self) -> bool:
        """Whether the gateway sees requests."""
        return self in {EdgeProtocol.HTTP, EdgeProtocol.HTTPS}


class MinimumTls(enum.StrEnum):
    """The oldest version of TLS that a client may speak."""

    V1_2 = "1.2"
    V1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, shown to clients that ask for one of ``hosts``; for none: to all others."""

    source: CertificateSource
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeTls:
    """How TLS is ended."""

    certificates: tuple[Certificate, ...]
    minimum: MinimumTls = MinimumTls.V1_2


@dataclass(frozen=True, slots=True)
class Exposed:
    """A service under ``hosts``; with a ``path``, for requests of that path and below it.

    Hosts are lower case: ``shop.example.com``, ``*.example.com``, ``web.ingress.*`` or
    :data:`ANY_HOST`.
    """

    service: str
    hosts: tuple[str, ...] = (ANY_HOST,)
    path: str = ""
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


class EscapedSlashes(enum.StrEnum):
    """What becomes of a path with ``%2F`` or ``%5C``, which a service may read as a slash."""

    REDIRECT = "redirect"
    REJECT = "reject"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class EdgeListener:
    """A port that clients dial.  ``origins`` are the documents that speak of it, the last holds.

    ``https_port``: every request is answered with a redirect there.  ``trusted_proxies`` is how
    many proxies stand in front whose ``x-forwarded-for`` is believed.  An HTTPS listener without
    ``tls`` is one whose certificate nobody has named.
    """

    port: int
    protocol: EdgeProtocol
    services: tuple[Exposed, ...] = ()
    tls: EdgeTls | None = None
    https_port: int = 0
    trusted_proxies: int = 0
    escaped_slashes: EscapedSlashes = EscapedSlashes.REDIRECT
    origins: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Edge:
    """All that the gateways of the service ``name`` serve."""

    name: str
    listeners: tuple[EdgeListener, ...] = ()
