"""MeshPassthrough: which hosts outside the mesh an application may call unnamed.

Several policies add up: the most specific mode holds, and where that is ``Matched`` the hosts of
all of them pass.  Names are believed as the application says them, so this keeps an application
in order; it does not hold one that means ill.
Source: Kuma's MeshPassthrough.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from mesh.model.names import is_dns_name
from mesh.model.passthrough import (
    HostKind,
    HostProtocol,
    Passthrough,
    PassthroughMatch,
    PassthroughMode,
)
from mesh.policies.document import Document
from mesh.policies.kind import Kind
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec
from mesh.policies.units import Port


class HostMatch(Strict):
    """Hosts that may be called."""

    type: Literal["Domain", "IP", "CIDR"]
    """How ``value`` names them: by name, by address, or by a block of addresses."""
    value: str
    """``api.example.com``, ``*.example.com`` (all below it), ``192.0.2.1``, ``2001:db8::/32``."""
    port: Port | None = None
    """The port; any where nothing is said.  To tell ``protocol`` or a name, a connection is looked
    into, for which a server that speaks first waits a second: with a port, only those there are."""
    protocol: Literal["tcp", "tls", "http", "http2", "grpc"] = "tcp"
    """What is spoken; ``tcp`` is anything, ``http`` (1.0 and 1.1), ``http2`` and ``grpc`` are in
    plain text.  A domain is told by TLS's SNI or by HTTP's host, so never with ``tcp``."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "Domain":
            _check_domain(self.value)
            if self.protocol == "tcp":
                raise ValueError("a Domain needs protocol tls, http, http2 or grpc")
        else:
            self.form()
        return self

    def form(self) -> PassthroughMatch:
        """Return the model's form; addresses in their canonical spelling."""
        value = self.value.lower()
        try:
            if self.type == "IP":
                value = str(ipaddress.ip_address(value))
            elif self.type == "CIDR":
                value = str(ipaddress.ip_network(value))
        except ValueError as error:
            raise ValueError(f"{self.value!r} is no {self.type}: {error}") from error
        kind, protocol = HostKind(self.type.lower()), HostProtocol(self.protocol)
        return PassthroughMatch(kind, value, protocol, self.port)


class PassthroughModel(Strict):
    """The ``default`` of MeshPassthrough."""

    passthrough_mode: Literal["All", "Matched", "None"] | None = None
    """``All`` hosts pass, those that are ``Matched``, or ``None``.  Where hosts are given it is
    ``Matched``; without any policy it is ``All``."""
    append_match: tuple[HostMatch, ...] = Field(default=())
    """The hosts that may be called, beside those of other policies.  Another connection is closed
    and logged; a request for another HTTP host is answered with 403."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.passthrough_mode is None and not self.append_match:
            raise ValueError("says nothing: give passthroughMode, appendMatch or both")
        if self.passthrough_mode in ("All", "None") and self.append_match:
            raise ValueError(f"passthroughMode {self.passthrough_mode} takes no appendMatch")
        _check_distinct([match.form() for match in self.append_match])
        return self


class PassthroughSpec(Spec):
    """The ``spec`` of MeshPassthrough."""

    default: PassthroughModel
    """What passes of the connections that the proxy captures and that go to no service."""


def passthrough(documents: Sequence[Document]) -> Passthrough | None:
    """Return what ``documents`` (MeshPassthrough, the general first) say together."""
    mode: PassthroughMode | None = None
    matches: list[PassthroughMatch] = []
    for document in documents:
        if not isinstance(document.spec, PassthroughSpec):
            raise TypeError(f"{document.label} is no MeshPassthrough")
        conf = document.spec.default
        matches += [match.form() for match in conf.append_match]
        # Without a mode there are hosts, or the document would have said nothing.
        mode = PassthroughMode((conf.passthrough_mode or "Matched").lower())
    if mode is None:
        return None
    hosts = tuple(dict.fromkeys(matches)) if mode is PassthroughMode.MATCHED else ()
    return Passthrough(mode, hosts)


def _check_domain(value: str) -> None:
    if not is_dns_name(value.removeprefix("*.")):
        raise ValueError(f"{value!r} is no domain: write api.example.com or *.example.com")


def _check_distinct(matches: Sequence[PassthroughMatch]) -> None:
    """TLS can be told from the rest by its first bytes; the rest cannot be told apart."""
    spoken: dict[tuple[HostKind, str, int | None], HostProtocol] = {}
    for match in matches:
        if match.protocol is HostProtocol.TLS:
            continue
        before = spoken.setdefault((match.kind, match.value, match.port), match.protocol)
        if before is not match.protocol:
            raise ValueError(f"{match.value} is given as {before} and as {match.protocol}")


KIND: Final = Kind(
    name="MeshPassthrough",
    summary="Which hosts outside the mesh an application may call, where its calls are captured.",
    conf=PassthroughModel,
    spec=PassthroughSpec,
    example="""\
type: MeshPassthrough
name: web-mail
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  default:
    passthroughMode: Matched
    appendMatch:
      - {type: Domain, value: "*.example.com", port: 443, protocol: tls}
      - {type: CIDR, value: 192.0.2.0/24, port: 25}
""",
)
