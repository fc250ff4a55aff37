"""Configuration entries that say what services speak, and the names of all other kinds.  Pure.

What Consul knows and the mesh does not use (yet) is accepted without a word; what neither
knows is a violation.
"""

from __future__ import annotations

from mesh.clients.consul.fields import Fields
from mesh.clients.consul.intention_entries import BOOKKEEPING, default_tenancy
from mesh.model.services import Protocol, ProxyDefaults, ServiceDefaults
from mesh.model.violations import Report
from mesh.sources.consul.problems import Raw

SERVICE_DEFAULTS = "service-defaults"
PROXY_DEFAULTS = "proxy-defaults"

UNUSED_KINDS = frozenset(
    {
        "api-gateway",
        "bound-api-gateway",
        "control-plane-request-limit",
        "exported-services",
        "file-system-certificate",
        "http-route",
        "ingress-gateway",
        "inline-certificate",
        "mesh",
        "sameness-group",
        "service-resolver",
        "service-router",
        "service-splitter",
        "tcp-route",
        "terminating-gateway",
    }
)
"""Kinds that Consul knows and that mean nothing to the mesh so far."""

_PROTOCOLS = tuple(protocol.value for protocol in Protocol)

_UNUSED_SERVICE_DEFAULTS = (
    "BalanceInboundConnections",
    "Destination",
    "EnvoyExtensions",
    "Expose",
    "ExternalSNI",
    "LocalConnectTimeoutMs",
    "LocalRequestTimeoutMs",
    "MaxInboundConnections",
    "MaxRequestHeadersKB",
    "MeshGateway",
    "Mode",
    "MutualTLSMode",
    "RateLimits",
    "TransparentProxy",
    "UpstreamConfig",
)
_UNUSED_PROXY_DEFAULTS = (
    "AccessLogs",
    "EnvoyExtensions",
    "Expose",
    "FailoverPolicy",
    "MeshGateway",
    "Mode",
    "MutualTLSMode",
    "PrioritizeByLocality",
    "TransparentProxy",
)


def parse_service_defaults(raw: Raw) -> ServiceDefaults:
    """Read a ``service-defaults`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(f"{SERVICE_DEFAULTS} {raw.get('Name', '')}".strip())
    entry = Fields(raw, "", report)
    name = entry.name("Name")
    default_tenancy(entry)
    protocol = entry.choice("Protocol", _PROTOCOLS, Protocol.TCP.value)
    entry.skip((*BOOKKEEPING, *_UNUSED_SERVICE_DEFAULTS))
    entry.close()
    report.close()
    return ServiceDefaults(name, Protocol(protocol))


def parse_proxy_defaults(raw: Raw) -> ProxyDefaults:
    """Read the ``proxy-defaults`` entry, ``global``.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(f"{PROXY_DEFAULTS} {raw.get('Name', '')}".strip())
    entry = Fields(raw, "", report)
    if entry.text("Name") != "global":
        entry.wrong("Name", "must be global")
    default_tenancy(entry)
    # Consul leaves the other keys of Config to the proxy; none concerns ours.
    config = entry.child("Config")
    protocol = Protocol.TCP.value
    if config is not None:
        protocol = config.choice("protocol", _PROTOCOLS, protocol)
    entry.skip((*BOOKKEEPING, *_UNUSED_PROXY_DEFAULTS))
    entry.close()
    report.close()
    return ProxyDefaults(Protocol(protocol))
