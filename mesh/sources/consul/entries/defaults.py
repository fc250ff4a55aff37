"""``service-defaults`` and ``proxy-defaults`` entries.  Pure."""

from __future__ import annotations

from typing import Final

from mesh.model.entries import ProxyDefaults, ServiceDefaults
from mesh.model.names import InvalidNameError, service_name
from mesh.model.services import Protocol
from mesh.sources.consul.entries.fields import Entry, count, gateway_mode, milliseconds, visible
from mesh.sources.consul.entries.kinds import PROXY_DEFAULTS, SERVICE_DEFAULTS
from mesh.sources.consul.entries.upstreams import upstream_config
from mesh.sources.consul.problems import Raw

_PROTOCOLS: Final = tuple(protocol.value for protocol in Protocol)

_UNUSED_SERVICE_DEFAULTS: Final = (
    "BalanceInboundConnections",
    "Destination",
    "EnvoyExtensions",
    "Expose",
    "MaxRequestHeadersKB",
    "Mode",
    "MutualTLSMode",
    "RateLimits",
    "TransparentProxy",
)
_UNUSED_PROXY_DEFAULTS: Final = (
    "AccessLogs",
    "EnvoyExtensions",
    "Expose",
    "FailoverPolicy",
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
    entry = Entry(SERVICE_DEFAULTS, raw)
    fields = entry.fields
    upstream, upstreams = upstream_config(fields)
    found = ServiceDefaults(
        name=fields.name("Name"),
        protocol=Protocol(fields.choice("Protocol", _PROTOCOLS, Protocol.TCP.value)),
        external_sni=visible(fields, "ExternalSNI"),
        upstream=upstream,
        upstreams=upstreams,
        max_inbound_connections=count(fields, "MaxInboundConnections") or 0,
        local_connect_timeout=milliseconds(fields, "LocalConnectTimeoutMs"),
        local_request_timeout=milliseconds(fields, "LocalRequestTimeoutMs"),
        gateway=gateway_mode(fields),
    )
    fields.skip(_UNUSED_SERVICE_DEFAULTS)
    entry.close()
    return found


def protocol_only(raw: Raw) -> ServiceDefaults | None:
    """Return what a malformed ``service-defaults`` entry says of the protocol; else it is tcp."""
    name, said = raw.get("Name", ""), raw.get("Protocol", "")
    try:
        service_name(str(name))
        protocol = Protocol(str(said).lower() or Protocol.TCP.value)
    except InvalidNameError:
        return None
    except ValueError:
        protocol = Protocol.TCP
    return ServiceDefaults(str(name), protocol)


def parse_proxy_defaults(raw: Raw) -> ProxyDefaults:
    """Read the ``proxy-defaults`` entry, ``global``.

    Raises:
        InvalidInputError: with every violation.

    """
    entry = Entry(PROXY_DEFAULTS, raw)
    fields = entry.fields
    if fields.text("Name") != "global":
        fields.wrong("Name", "must be global")
    # Consul leaves the other keys of Config to the proxy; none concerns ours.
    config = fields.child("Config")
    protocol = Protocol.TCP.value
    if config is not None:
        protocol = config.choice("protocol", _PROTOCOLS, protocol)
    mode = gateway_mode(fields)
    fields.skip(_UNUSED_PROXY_DEFAULTS)
    entry.close()
    return ProxyDefaults(Protocol(protocol), mode)
