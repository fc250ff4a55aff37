"""Consul's configuration entries about traffic, read strictly into ``model.entries``.  Pure.

One module per kind; ``fields`` has what they share, ``kinds`` the names.  Everything wrong with
an entry is reported at once, at Consul's own path (``Routes[0].Match.HTTP.PathRegex``): what
Consul itself would refuse, what is Consul Enterprise's, and what Envoy would refuse later.  What
Consul knows and the mesh has no use for is accepted without a word; what neither knows is a
violation.  What several entries say together is judged in ``routing.chain``.
"""

from mesh.sources.consul.entries.defaults import (
    parse_proxy_defaults,
    parse_service_defaults,
    protocol_only,
)
from mesh.sources.consul.entries.ingress import parse_ingress
from mesh.sources.consul.entries.kinds import (
    INGRESS_GATEWAY,
    PROXY_DEFAULTS,
    SERVICE_DEFAULTS,
    SERVICE_RESOLVER,
    SERVICE_ROUTER,
    SERVICE_SPLITTER,
    TERMINATING_GATEWAY,
    UNUSED_KINDS,
)
from mesh.sources.consul.entries.resolver import parse_resolver
from mesh.sources.consul.entries.router import parse_router
from mesh.sources.consul.entries.splitter import parse_splitter
from mesh.sources.consul.entries.terminating import parse_terminating_gateway

__all__ = [
    "INGRESS_GATEWAY",
    "PROXY_DEFAULTS",
    "SERVICE_DEFAULTS",
    "SERVICE_RESOLVER",
    "SERVICE_ROUTER",
    "SERVICE_SPLITTER",
    "TERMINATING_GATEWAY",
    "UNUSED_KINDS",
    "parse_ingress",
    "parse_proxy_defaults",
    "parse_resolver",
    "parse_router",
    "parse_service_defaults",
    "parse_splitter",
    "parse_terminating_gateway",
    "protocol_only",
]
