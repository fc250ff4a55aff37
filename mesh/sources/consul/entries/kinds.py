"""The kinds of configuration entries, by name."""

from __future__ import annotations

from typing import Final

SERVICE_DEFAULTS: Final = "service-defaults"
PROXY_DEFAULTS: Final = "proxy-defaults"
SERVICE_ROUTER: Final = "service-router"
SERVICE_SPLITTER: Final = "service-splitter"
SERVICE_RESOLVER: Final = "service-resolver"
INGRESS_GATEWAY: Final = "ingress-gateway"
TERMINATING_GATEWAY: Final = "terminating-gateway"

UNUSED_KINDS: Final = frozenset(
    {
        "api-gateway",
        "bound-api-gateway",
        "control-plane-request-limit",
        "exported-services",
        "file-system-certificate",
        "http-route",
        "inline-certificate",
        "mesh",
        "sameness-group",
        "tcp-route",
    }
)
"""Kinds that Consul knows and that mean nothing to the mesh so far."""
