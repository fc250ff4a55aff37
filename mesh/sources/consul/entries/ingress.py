"""``ingress-gateway`` entries.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.clients.consul.intention_entries import default_tenancy
from mesh.model.edge import (
    ANY_HOST,
    EVERY_SERVICE,
    Edge,
    EdgeListener,
    EdgeProtocol,
    Exposed,
    default_host,
)
from mesh.model.names import is_dns_name
from mesh.sources.consul.entries.fields import Entry
from mesh.sources.consul.entries.headers import header_edits
from mesh.sources.consul.entries.kinds import INGRESS_GATEWAY
from mesh.sources.consul.problems import Raw

_PROTOCOLS: Final = ("tcp", "http", "http2", "grpc")
_LARGEST_PORT: Final = 65_535
_BREAKERS: Final = (
    "MaxConnections",
    "MaxPendingRequests",
    "MaxConcurrentRequests",
    "PassiveHealthCheck",
)
_LIMITED: Final = "is said by a MeshCircuitBreaker whose targetRef selects the gateway"
_OF_POLICY: Final = "is said by a MeshGateway, listener by listener"


def parse_ingress(raw: Raw) -> Edge:
    """Read an ``ingress-gateway`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    entry = Entry(INGRESS_GATEWAY, raw)
    name = entry.fields.name("Name")
    secure = _tls(entry.fields, default=False)
    defaults = entry.fields.child("Defaults")
    if defaults is not None:
        _refuse(defaults, _BREAKERS, _LIMITED)
        defaults.close()
    listeners: list[EdgeListener] = []
    for said in entry.fields.children("Listeners"):
        found = _listener(said, secure=secure)
        if any(found.port == one.port for one in listeners):
            said.wrong("Port", f"{found.port} is declared on two listeners")
        listeners.append(found)
    entry.close()
    return Edge(name, tuple(listeners))


def _tls(fields: Fields, *, default: bool) -> bool:
    said = fields.child("TLS")
    if said is None:
        return default
    enabled = default if said.raw("Enabled") is None else said.boolean("Enabled")
    _refuse(said, ("SDS", "TLSMinVersion", "TLSMaxVersion", "CipherSuites"), _OF_POLICY)
    said.close()
    return enabled


def _refuse(fields: Fields, names: tuple[str, ...], why: str) -> None:
    for name in names:
        # Consul fills in what nobody said.
        if fields.raw(name) not in (None, 0, "", []):
            fields.wrong(name, why)


def _listener(said: Fields, *, secure: bool) -> EdgeListener:
    port = said.integer("Port")
    if not 0 < port <= _LARGEST_PORT:
        said.wrong("Port", f"expected a port, 1 to {_LARGEST_PORT}")
    is_http = said.choice("Protocol", _PROTOCOLS, "tcp") != "tcp"
    # A listener's own word holds over the entry's, as in Consul.
    secure = _tls(said, default=secure)
    services = tuple(_services(said, is_http=is_http, secure=secure))
    if not services:
        said.wrong("Services", "is required: at least one service")
    if not is_http and len(services) > 1:
        said.wrong("Services", "a tcp listener takes one service")
    taken: set[str] = set()
    for host in (host for one in services for host in one.hosts):
        if host in taken:
            said.wrong("Services", f"{host} is a host of two of them")
        taken.add(host)
    said.close()
    if not is_http and secure:
        said.wrong("Protocol", "TLS of a tcp listener is ended by no gateway: use a MeshGateway")
    plain = EdgeProtocol.HTTP if is_http else EdgeProtocol.TCP
    return EdgeListener(port, EdgeProtocol.HTTPS if secure and is_http else plain, services)


def _services(said: Fields, *, is_http: bool, secure: bool) -> Iterator[Exposed]:
    named: set[str] = set()
    for item in said.children("Services"):
        default_tenancy(item)
        service = item.name("Name", wildcard=True)
        if service in named:
            item.wrong("Name", f"{service} is named twice")
        named.add(service)
        hosts = tuple(host.lower() for host in item.texts("Hosts"))
        for index, host in enumerate(hosts):
            _check_host(item, f"Hosts[{index}]", host, secure=secure)
        if service == EVERY_SERVICE and hosts:
            item.wrong("Hosts", "every service has a host of its own: leave them out")
        if not is_http:
            for wrong, message in (
                (service == EVERY_SERVICE, "a tcp listener takes one service, by name"),
                (bool(hosts), "a tcp listener knows no hosts"),
            ):
                if wrong:
                    item.wrong("Hosts" if hosts else "Name", message)
        _refuse(item, _BREAKERS, _LIMITED)
        _refuse(item, ("TLS",), _OF_POLICY)
        if not is_http:
            hosts = (ANY_HOST,)
        yield Exposed(
            service,
            hosts or (default_host(service),),
            request_headers=header_edits(item, "RequestHeaders"),
            response_headers=header_edits(item, "ResponseHeaders"),
        )
        item.close()


def _check_host(item: Fields, place: str, host: str, *, secure: bool) -> None:
    if host == ANY_HOST:
        if secure:
            item.wrong(place, "'*' cannot be with TLS: a certificate needs names")
    elif not is_dns_name(host.removeprefix("*.")):
        item.wrong(place, f"{host!r} is no host: write shop.example.com or *.example.com")
