"""Configuration entries with every field that Consul's reference has, for the page about them.

Each kind has samples that together hold all fields the mesh accepts, and, by path, fields whose
value it refuses.  What becomes of each field the page finds out by leaving it out.  Namespaces,
partitions and what any entry has (``Meta``, indexes) are told of in words.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mesh.clients.consul.intention_entries import parse_entry
from mesh.sources.consul import entries
from mesh.sources.consul.jwt import parse_jwt_provider

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A kind of entry.  ``refused`` are fields, by path, that make an entry invalid.

    ``notes`` say where what the mesh does differs from what Consul's reference leads to expect.
    """

    kind: str
    parse: Callable[[Mapping[str, Any]], object]
    samples: Sequence[Json]
    refused: Mapping[tuple[str | int, ...], Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


_EDITS: Final = {"Add": {"x-a": "1"}, "Set": {"x-b": "2"}, "Remove": ["x-c"]}
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
_KEYS: Final = base64.b64encode(
    b'{"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}]}'
).decode()


def _route(match: Json) -> Json:
    return {"Kind": "service-router", "Name": "api", "Routes": [{"Match": {"HTTP": match}}]}


def _source(**more: Any) -> Json:
    source = {"Name": "web", "Type": "consul", "Description": "d", **more}
    return {"Kind": "service-intentions", "Name": "api", "Sources": [source]}


def _allowing(http: Json, **more: Any) -> Json:
    return _source(Permissions=[{"Action": "allow", "HTTP": http, **more}])


def _jwt(where: Json, keys: Json) -> Json:
    return {"Kind": "jwt-provider", "Name": "idp", "Issuer": "i", "JSONWebKeySet": keys, **where}


_CLAIMS: Final = {"Providers": [{"Name": "idp", "VerifyClaims": [{"Path": ["r"], "Value": "a"}]}]}
_HASHED: Final = [
    {"Field": "header", "FieldValue": "x-user", "Terminal": True},
    {"SourceIP": True},
]

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
    Sampled(
        entries.SERVICE_ROUTER,
        entries.parse_router,
        [
            {
                "Kind": "service-router",
                "Name": "api",
                "Routes": [
                    {
                        "Match": {
                            "HTTP": {
                                "PathPrefix": "/v1",
                                "CaseInsensitive": True,
                                "Methods": ["GET"],
                                "Header": [
                                    {
                                        "Name": "x-a",
                                        "Exact": "1",
                                        "Invert": True,
                                        "IgnoreCase": True,
                                    }
                                ],
                                "QueryParam": [{"Name": "q", "Exact": "1"}],
                            }
                        },
                        "Destination": {
                            "Service": "other",
                            "ServiceSubset": "v1",
                            "PrefixRewrite": "/",
                            "RequestTimeout": "9s",
                            "IdleTimeout": "8s",
                            "NumRetries": 3,
                            "RetryOn": ["reset"],
                            "RetryOnConnectFailure": True,
                            "RetryOnStatusCodes": [503],
                            "RequestHeaders": _EDITS,
                            "ResponseHeaders": _EDITS,
                        },
                    }
                ],
            },
            _route({"PathExact": "/"}),
            _route({"PathRegex": "/[0-9]+"}),
            *(
                _route({"Header": [{"Name": "x", condition: value}]})
                for condition, value in (
                    ("Present", True),
                    ("Prefix", "a"),
                    ("Suffix", "a"),
                    ("Contains", "a"),
                    ("Regex", "a"),
                )
            ),
            _route({"QueryParam": [{"Name": "q", "Present": True}]}),
            _route({"QueryParam": [{"Name": "q", "Regex": "a"}]}),
        ],
        {
            ("Routes", 0, "Match", "HTTP", "PathRegex"): "(?=a)",
            ("Routes", 0, "Destination", "RequestHeaders", "Set", "Host"): "x",
        },
        {
            "Routes[].Match.HTTP.PathRegex": "RE2, for the whole path. Consul accepts what RE2 "
            "does not; the mesh refuses it.",
            "Routes[].Destination.RequestTimeout": "A negative one is none.",
            "Routes[].Destination.NumRetries": "Without a condition beside it nothing is tried "
            "again, as in Consul.",
        },
    ),
    Sampled(
        entries.SERVICE_SPLITTER,
        entries.parse_splitter,
        [
            {
                "Kind": "service-splitter",
                "Name": "api",
                "Splits": [
                    {
                        "Weight": 90,
                        "Service": "other",
                        "ServiceSubset": "v1",
                        "RequestHeaders": _EDITS,
                        "ResponseHeaders": _EDITS,
                    },
                    {"Weight": 10},
                ],
            }
        ],
        {("Splits", 0, "Weight"): 80},
        {"Splits[].Weight": "To a hundredth; all of them must sum to 100."},
    ),
    Sampled(
        entries.TERMINATING_GATEWAY,
        entries.parse_terminating_gateway,
        [
            {
                "Kind": "terminating-gateway",
                "Name": "mesh-egress",
                "Services": [
                    {
                        "Name": "legacy",
                        "CAFile": "/etc/mesh/egress/ca.pem",
                        "CertFile": "/etc/mesh/egress/client.pem",
                        "KeyFile": "/etc/mesh/egress/client.key",
                        "SNI": "legacy.example",
                        "DisableAutoHostRewrite": True,
                    }
                ],
            }
        ],
        {
            ("Services", 0, "Name"): "*",
            ("Services", 0, "CAFile"): "/etc/shadow",
        },
        {
            "Services[].Name": "An entry of another name than `mesh-egress` is for a gateway of "
            "Consul's own and has no effect here.",
            "Services[].CAFile": "A file below `files_dir` of each gateway, whatever stands for "
            "it there; so are the others. The certificate must name `SNI`, or the host.",
            "Services[].DisableAutoHostRewrite": "Requests go on for the host that the "
            "application named.",
        },
    ),
    Sampled(
        entries.INGRESS_GATEWAY,
        entries.parse_ingress,
        [
            {
                "Kind": "ingress-gateway",
                "Name": "edge",
                "TLS": {"Enabled": True},
                "Listeners": [
                    {
                        "Port": 8443,
                        "Protocol": "http",
                        "TLS": {"Enabled": False},
                        "Services": [
                            {
                                "Name": "web",
                                "Hosts": ["shop.example.com"],
                                "RequestHeaders": _EDITS,
                                "ResponseHeaders": _EDITS,
                            }
                        ],
                    }
                ],
            },
            {
                "Kind": "ingress-gateway",
                "Name": "edge",
                "TLS": {"Enabled": True},
                "Listeners": [{"Port": 8443, "Protocol": "http", "Services": [{"Name": "web"}]}],
            },
        ],
        {
            ("TLS", "TLSMinVersion"): "TLSv1_2",
            ("TLS", "TLSMaxVersion"): "TLSv1_3",
            ("TLS", "CipherSuites"): ["x"],
            ("TLS", "SDS"): {"ClusterName": "x"},
            ("Defaults",): {"MaxConnections": 5},
            ("Listeners", 0, "TLS", "SDS"): {"ClusterName": "x"},
            ("Listeners", 0, "Services", 0, "TLS"): {"SDS": {"ClusterName": "x"}},
            ("Listeners", 0, "Services", 0, "MaxConnections"): 5,
            ("Listeners", 0, "Services", 0, "MaxPendingRequests"): 5,
            ("Listeners", 0, "Services", 0, "MaxConcurrentRequests"): 5,
            ("Listeners", 0, "Services", 0, "PassiveHealthCheck"): {"MaxFailures": 5},
        },
        {
            "TLS.Enabled": "The listeners are closed until a MeshGateway says which certificate "
            "each shows.",
            "Listeners[].Protocol": "`http2` and `grpc` are as `http`: what a client speaks is "
            "found out.",
            "Listeners[].Services[].Name": "`*` is every service that speaks HTTP.",
            "Listeners[].Services[].Hosts": "Without, `<service>.ingress.*`, as in Consul.",
        },
    ),
    Sampled(
        entries.SERVICE_RESOLVER,
        entries.parse_resolver,
        [
            {
                "Kind": "service-resolver",
                "Name": "api",
                "DefaultSubset": "v1",
                "Subsets": {"v1": {"Filter": "Service.Meta.v == 1", "OnlyPassing": True}},
                "Failover": {"*": {"Service": "b", "ServiceSubset": "x", "Datacenters": ["dc2"]}},
                "ConnectTimeout": "3s",
                "RequestTimeout": "4s",
                "LoadBalancer": {
                    "Policy": "ring_hash",
                    "RingHashConfig": {"MinimumRingSize": 64, "MaximumRingSize": 128},
                    "HashPolicies": _HASHED,
                },
            },
            {
                "Kind": "service-resolver",
                "Name": "api",
                "Failover": {
                    "*": {
                        "Targets": [{"Service": "b", "ServiceSubset": "x", "Datacenter": "dc2"}],
                        "Policy": {"Mode": "default"},
                    }
                },
                "LoadBalancer": {
                    "Policy": "maglev",
                    "HashPolicies": [
                        {
                            "Field": "cookie",
                            "FieldValue": "u",
                            "CookieConfig": {"TTL": "60s", "Path": "/p"},
                        }
                    ],
                },
            },
            {
                "Kind": "service-resolver",
                "Name": "api",
                "Redirect": {"Service": "b", "ServiceSubset": "x", "Datacenter": "dc2"},
                "LoadBalancer": {
                    "Policy": "least_request",
                    "LeastRequestConfig": {"ChoiceCount": 5},
                },
            },
            {
                "Kind": "service-resolver",
                "Name": "api",
                "LoadBalancer": {
                    "Policy": "maglev",
                    "HashPolicies": [
                        {"Field": "cookie", "FieldValue": "u", "CookieConfig": {"Session": True}}
                    ],
                },
            },
        ],
        {
            ("PrioritizeByLocality",): {"Mode": "failover"},
            ("Failover", "*", "SamenessGroup"): "group",
            ("Failover", "*", "Policy"): {"Mode": "order-by-locality"},
            ("Failover", "*", "Targets"): [{"Peer": "other"}],
            ("Redirect",): {"Service": "b", "Peer": "other"},
        },
        {
            "Subsets.*.Filter": "The whole grammar, over `Service.Meta`, `Service.Tags`, "
            "`Node.Meta` and the other fields of an instance.",
            "Failover.*.Datacenters": "In order; a zone that does not let the service "
            "be called is left out.",
            "Failover.*.Targets[].Datacenter": "Likewise.",
            "Redirect.Datacenter": "Calls go to that zone's gateways; nobody stands in for it.",
            "Failover.*.Policy": "Only `default` is possible as `Mode`.",
        },
    ),
    Sampled(
        "service-intentions",
        parse_entry,
        [
            {**_allowing({"PathPrefix": "/v1", "Methods": ["GET"]}, JWT=_CLAIMS), "JWT": _CLAIMS},
            _source(Action="allow", LegacyID="l", Precedence=9),
            {
                "Kind": "service-intentions",
                "Name": "api",
                "Sources": [
                    {"Name": "web", "Action": "allow", "Peer": "other"},
                    {"Name": "app", "Action": "allow"},
                ],
            },
            _allowing({"PathExact": "/"}),
            _allowing({"PathRegex": "/[0-9]+"}),
            _allowing(
                {"Header": [{"Name": "x", "Exact": "1", "Invert": True, "IgnoreCase": True}]}
            ),
            *(
                _allowing({"Header": [{"Name": "x", condition: value}]})
                for condition, value in (
                    ("Present", True),
                    ("Prefix", "a"),
                    ("Suffix", "a"),
                    ("Contains", "a"),
                    ("Regex", "a"),
                )
            ),
        ],
        {("Sources", 0, "SamenessGroup"): "group"},
        {"Sources[].Peer": "A source with one is left out: it matches no caller of this mesh."},
    ),
    Sampled(
        "jwt-provider",
        parse_jwt_provider,
        [
            _jwt(
                {
                    "Audiences": ["a"],
                    "Locations": [{"Header": {"Name": "x", "ValuePrefix": "B ", "Forward": True}}],
                    "Forwarding": {"HeaderName": "x-u", "PadForwardPayloadHeader": True},
                    "ClockSkewSeconds": 5,
                    "CacheConfig": {"Size": 10},
                },
                {"Local": {"JWKS": _KEYS}},
            ),
            _jwt(
                {"Locations": [{"QueryParam": {"Name": "t"}}, {"Cookie": {"Name": "c"}}]},
                {
                    "Remote": {
                        "URI": "https://idp.example/keys",
                        "RequestTimeoutMs": 500,
                        "CacheDuration": "60s",
                        "FetchAsynchronously": True,
                        "RetryPolicy": {"NumRetries": 3},
                        "UseSNI": True,
                        "JWKSCluster": {"DiscoveryType": "STATIC"},
                    }
                },
            ),
        ],
        {("JSONWebKeySet", "Local", "Filename"): "/etc/keys"},
        {
            "Locations[].Header.Forward": "It holds for every place of the provider; a "
            "MeshRequestAuthentication always passes the token on.",
            "JSONWebKeySet.Remote.URI": "Envoy fetches it from that address, by its public "
            "certificate.",
        },
    ),
)
"""Every kind that the mesh reads."""
