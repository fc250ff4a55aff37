"""MeshGateway: what edge gateways serve to clients outside the mesh, port by port.

It says which service has a request, and nothing of what becomes of it there: the gateway calls the
service as any sidecar would.  A MeshHTTPRoute, a MeshRetry or whatever else concerns the gateway's
own proxies is attached by selecting them (``Dataplane`` with the label ``service``).

Source: Kuma's MeshGateway; Gateway API's Gateway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from mesh.model.edge import (
    ANY_HOST,
    EdgeListener,
    EdgeProtocol,
    EdgeTls,
    EscapedSlashes,
    Exposed,
    MinimumTls,
)
from mesh.model.requests import NO_EDITS
from mesh.policies.document import Document
from mesh.policies.kind import Kind, Violations
from mesh.policies.kinds.gateway.certificates import CertificateModel
from mesh.policies.kinds.gateway.hosts import ServedHost, ServedPath
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec
from mesh.policies.units import HeaderModifier, Port, ServiceName

__all__ = ["KIND", "GatewaySpec", "listeners"]

_SLASHES: Final = {
    "UnescapeAndRedirect": EscapedSlashes.REDIRECT,
    "Reject": EscapedSlashes.REJECT,
    "Keep": EscapedSlashes.KEEP,
}


class ServedRoute(Strict):
    """A service, and the requests or connections that are its."""

    hostnames: tuple[ServedHost, ...] = ()
    """The hosts; absent, every host that no other route names.  With TLS it is the name that the
    client asks for (SNI)."""
    path: ServedPath | None = None
    """Requests of this path and below it; absent, of every path that no other route names."""
    service: ServiceName
    """Who gets them: its own routes, splits and failover hold."""
    request_headers: HeaderModifier | None = None
    """Changes to what clients send."""
    response_headers: HeaderModifier | None = None
    """Changes to what clients get."""

    def form(self) -> Exposed:
        """Return the intermediate form."""
        return Exposed(
            self.service,
            tuple(host.lower() for host in self.hostnames) or (ANY_HOST,),
            (self.path or "").rstrip("/"),
            self.request_headers.form() if self.request_headers else NO_EDITS,
            self.response_headers.form() if self.response_headers else NO_EDITS,
        )


class TlsModel(Strict):
    """How the gateway ends clients' TLS."""

    certificates: tuple[CertificateModel, ...] = Field(min_length=1)
    """What is shown, by the name that a client asks for."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS that is spoken."""

    def form(self) -> EdgeTls:
        """Return the intermediate form."""
        certificates = tuple(each.form() for each in self.certificates)
        return EdgeTls(certificates, MinimumTls(self.minimum_version))


class ListenerModel(Strict):
    """A port that clients dial."""

    port: Port
    """The port.  What an `ingress-gateway` entry says of the same port gives way, but for the
    services, where this listener names none."""
    protocol: Literal["HTTP", "HTTPS", "TCP", "TLS"]
    """What clients speak; `TLS` is passed on unopened to the service of the name asked for."""
    tls: TlsModel | None = None
    """With `HTTPS`, and only there: certificates."""
    routes: tuple[ServedRoute, ...] = ()
    """What is served.  Absent, it is what the `ingress-gateway` entry serves on this port."""
    redirect_to_port: Port | None = None
    """With `HTTP`: every request is sent to `https` on this port, with 301."""
    trusted_proxies: int = Field(default=0, ge=0, le=16)
    """How many proxies of your own stand in front of the gateway, whose `x-forwarded-for` is
    believed; with 0 what clients say in such headers is dropped."""
    escaped_slashes: Literal["UnescapeAndRedirect", "Reject", "Keep"] = "UnescapeAndRedirect"
    """What becomes of a path with `%2F` or `%5C`, which some services take for a slash."""

    def form(self, origin: str) -> EdgeListener:
        """Return the intermediate form."""
        return EdgeListener(
            self.port,
            EdgeProtocol(self.protocol.lower()),
            tuple(route.form() for route in self.routes),
            self.tls.form() if self.tls is not None else None,
            https_port=self.redirect_to_port or 0,
            trusted_proxies=self.trusted_proxies,
            escaped_slashes=_SLASHES[self.escaped_slashes],
            origins=(origin,),
        )


class GatewaySpec(Spec):
    """The ``spec`` of MeshGateway."""

    listeners: tuple[ListenerModel, ...] = Field(min_length=1)
    """The ports that the selected edge gateways serve."""


def listeners(document: Document) -> tuple[EdgeListener, ...]:
    """Return what ``document``, a MeshGateway, has its gateways serve."""
    spec = document.spec
    if not isinstance(spec, GatewaySpec):
        raise TypeError(f"{document.label} is no MeshGateway")
    return tuple(each.form(document.label) for each in spec.listeners)


def _check(spec: GatewaySpec) -> Violations:
    first: dict[int, int] = {}
    for index, listener in enumerate(spec.listeners):
        place = f"listeners[{index}]"
        same = first.setdefault(listener.port, index)
        if same != index:
            yield f"{place}.port", f"listeners[{same}] has port {listener.port} too"
        yield from _check_protocol(place, listener)
        yield from _check_routes(place, listener)
        if listener.tls is not None:
            yield from _check_certificates(f"{place}.tls", listener.tls)


def _check_protocol(place: str, listener: ListenerModel) -> Violations:
    if listener.protocol == "HTTPS" and listener.tls is None:
        yield f"{place}.tls", "is required with HTTPS: which certificate is shown"
    if listener.protocol != "HTTPS" and listener.tls is not None:
        yield f"{place}.tls", f"{listener.protocol} ends no TLS: use HTTPS"
    if listener.redirect_to_port is not None:
        if listener.protocol != "HTTP":
            yield f"{place}.redirectToPort", "only HTTP is redirected to https"
        if listener.routes:
            yield f"{place}.routes", "every request is redirected: nobody is asked"
    if listener.protocol in {"TCP", "TLS"}:
        for field in ("trusted_proxies", "escaped_slashes"):
            if field in listener.model_fields_set:
                name = "trustedProxies" if field == "trusted_proxies" else "escapedSlashes"
                yield f"{place}.{name}", f"of {listener.protocol} no request is seen"


def _check_routes(place: str, listener: ListenerModel) -> Violations:
    if listener.protocol == "TCP" and len(listener.routes) > 1:
        yield f"{place}.routes", "TCP takes one route: nothing tells connections apart"
    for index, route in enumerate(listener.routes):
        at = f"{place}.routes[{index}]"
        if listener.protocol in {"TCP", "TLS"}:
            for name, given in (
                ("path", route.path is not None),
                ("requestHeaders", route.request_headers is not None),
                ("responseHeaders", route.response_headers is not None),
                ("hostnames", listener.protocol == "TCP" and bool(route.hostnames)),
            ):
                if given:
                    yield f"{at}.{name}", f"of {listener.protocol} no such thing is seen"
    for again, host, path in _twice(listener):
        yield f"{place}.routes[{again}]", f"{host}{path} is another route's too"


def _twice(listener: ListenerModel) -> Iterator[tuple[int, str, str]]:
    taken: dict[tuple[str, str], int] = {}
    for index, route in enumerate(listener.routes):
        form = route.form()
        for host in form.hosts:
            if taken.setdefault((host, form.path), index) != index:
                yield index, "any host" if host == ANY_HOST else host, form.path


def _check_certificates(place: str, tls: TlsModel) -> Violations:
    hosts = Counter(
        host.lower() for each in tls.certificates for host in dict.fromkeys(each.hostnames)
    )
    for host in sorted(host for host, count in hosts.items() if count > 1):
        yield f"{place}.certificates", f"{host} has several certificates"
    if sum(not each.hostnames for each in tls.certificates) > 1:
        message = "several have no hostnames: say which clients each is shown to"
        yield f"{place}.certificates", message


KIND: Final = Kind(
    name="MeshGateway",
    summary="What edge gateways serve to clients outside the mesh: ports, certificates, hosts.",
    spec=GatewaySpec,
    check=_check,
    example="""\
type: MeshGateway
name: edge
spec:
  targetRef:
    kind: Dataplane
    labels: {service: edge}
  listeners:
    - port: 80
      protocol: HTTP
      redirectToPort: 443
    - port: 443
      protocol: HTTPS
      tls:
        minimumVersion: "1.2"
        certificates:
          - hostnames: [shop.example.com]
            vaultKv: {mount: secret, path: shop/tls}
          - hostnames: ["*.api.example.com"]
            vaultPki: {mount: pki, role: edge, ttl: 24h}
      routes:
        - hostnames: [shop.example.com]
          service: web
        - hostnames: [shop.example.com, "*.api.example.com"]
          path: /v1
          service: api
          responseHeaders:
            set: [{name: strict-transport-security, value: max-age=31536000}]
    - port: 5432
      protocol: TCP
      routes: [{service: db}]
""",
)
