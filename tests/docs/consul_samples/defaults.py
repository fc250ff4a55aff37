"""What entries say of services and proxies by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mesh.sources.consul import entries
from tests.docs.consul_samples.sampled import Sampled

_TREATMENT: Final = {
    "ConnectTimeoutMs": 1500,
    "Limits": {"MaxConnections": 5, "MaxPendingRequests": 6, "MaxConcurrentRequests": 7},
    "PassiveHealthCheck": {
        "Interval": "3s",
        "MaxFailures": 4,
        "EnforcingConsecutive5xx": 50,
        "MaxEjectionPercent": 20,
        "BaseEjectionTime": "7s",
    },
    "Protocol": "http",
    "MeshGateway": {"Mode": "local"},
    "BalanceOutboundConnections": "exact_balance",
    "EnvoyListenerJSON": "{}",
    "EnvoyClusterJSON": "{}",
}
_GATEWAYS: Final = {
    "Mode": "transparent",
    "MutualTLSMode": "permissive",
    "TransparentProxy": {"OutboundListenerPort": 22500},
    "MeshGateway": {"Mode": "local"},
    "Expose": {"Checks": True},
    "EnvoyExtensions": [{"Name": "builtin/lua"}],
}

SAMPLED: Final[Sequence[Sampled]] = (
    Sampled(
        entries.SERVICE_DEFAULTS,
        entries.parse_service_defaults,
        [
            {
                "Kind": "service-defaults",
                "Name": "api",
                "Protocol": "http",
                "UpstreamConfig": {
                    "Defaults": _TREATMENT,
                    "Overrides": [{"Name": "db", **_TREATMENT}],
                },
                "MaxInboundConnections": 9,
                "LocalConnectTimeoutMs": 800,
                "LocalRequestTimeoutMs": 900,
                "ExternalSNI": "api.example",
                "BalanceInboundConnections": "exact_balance",
                "Destination": {"Addresses": ["x.example"], "Port": 443},
                "MaxRequestHeadersKB": 96,
                "RateLimits": {"InstanceLevel": {"RequestsPerSecond": 5}},
                **_GATEWAYS,
            }
        ],
        {("UpstreamConfig", "Overrides", 0, "Peer"): "other"},
        {
            "Protocol": "`tcp`, `http`, `http2` or `grpc`. An entry that does not say it means "
            "tcp; without an entry it is proxy-defaults'.",
            "ExternalSNI": "Only held against the resolver: Consul allows neither subsets, "
            "redirect nor failover beside it. It is not sent: for a host outside the mesh, write "
            "a MeshExternalService.",
            "Destination": "Write a MeshExternalService.",
            "RateLimits": "Write a MeshRateLimit.",
            "MutualTLSMode": "Write a MeshTLS.",
            "EnvoyExtensions": "Write the policy for it, or a MeshProxyPatch.",
            "Mode": "Capturing is a setting of `mesh proxy`.",
            "UpstreamConfig.Defaults.Protocol": "The service's own service-defaults say it.",
            "MeshGateway.Mode": "`local` has calls to other zones leave by this zone's egress "
            "gateways; `remote` and `none` are alike, straight to a gateway of the other zone.",
        },
    ),
    Sampled(
        entries.PROXY_DEFAULTS,
        entries.parse_proxy_defaults,
        [
            {
                "Kind": "proxy-defaults",
                "Name": "global",
                "Config": {"protocol": "http", "local_connect_timeout_ms": 5},
                "AccessLogs": {"Enabled": True},
                "FailoverPolicy": {"Mode": "sequential"},
                "PrioritizeByLocality": {"Mode": "failover"},
                **_GATEWAYS,
            }
        ],
        {("Name",): "other"},
        {
            "Config.local_connect_timeout_ms": "So are all other keys of `Config`.",
            "PrioritizeByLocality": "Write a MeshLoadBalancingStrategy.",
        },
    ),
)
