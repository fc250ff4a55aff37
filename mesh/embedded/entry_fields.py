"""The fields of each kind of configuration entry.

A schema is a dict of field name to: ``ANY`` (a scalar, or what Consul does not look into), a
schema (an object), a list of one schema (a list of objects), or ``Each(schema)`` (an object
whose keys are the user's).  :func:`canonical` writes every key as Consul does and refuses
those it does not know, all at once.
Source: Consul's reference of configuration entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mesh.embedded.decode import fold

ANY: Final = None


@dataclass(frozen=True, slots=True)
class Each:
    """An object with free keys, each of whose values has one schema."""

    schema: dict[str, Any]


Schema = dict[str, Any]


def _leaves(*names: str) -> Schema:
    return dict.fromkeys(names, ANY)


_COMMON = _leaves("Kind", "Name", "Namespace", "Partition", "Meta", "CreateIndex", "ModifyIndex")
_COMMON |= _leaves("Hash")
_GATEWAY_MODE = _leaves("Mode")
_PROXY = {
    "MeshGateway": _GATEWAY_MODE,
    "Expose": {
        "Checks": ANY,
        "Paths": [_leaves("ListenerPort", "Path", "LocalPathPort", "Protocol", "ParsedFromCheck")],
    },
    "TransparentProxy": _leaves("OutboundListenerPort", "DialedDirectly"),
    **_leaves("Mode", "MutualTLSMode", "EnvoyExtensions"),
}
_LIMITS = _leaves("MaxConnections", "MaxPendingRequests", "MaxConcurrentRequests")
_UPSTREAM = {
    "Limits": _LIMITS,
    "PassiveHealthCheck": _leaves(
        "Interval",
        "MaxFailures",
        "EnforcingConsecutive5xx",
        "MaxEjectionPercent",
        "BaseEjectionTime",
    ),
    "MeshGateway": _GATEWAY_MODE,
    **_leaves("Name", "Peer", "Namespace", "Partition", "Protocol", "ConnectTimeoutMs"),
    **_leaves("EnvoyListenerJSON", "EnvoyClusterJSON", "BalanceOutboundConnections"),
}
_HEADER = _leaves("Name", "Present", "Exact", "Prefix", "Suffix", "Contains", "Regex", "Invert")
_HEADER |= _leaves("IgnoreCase")
_MODIFIERS = {"Add": ANY, "Set": ANY, "Remove": ANY}
_HEADERS = {"RequestHeaders": _MODIFIERS, "ResponseHeaders": _MODIFIERS}
_TLS = _leaves("Enabled", "TLSMinVersion", "TLSMaxVersion", "CipherSuites", "SDS")
_JWT = {"Providers": [{"Name": ANY, "VerifyClaims": [_leaves("Path", "Value")]}]}
_PERMISSION = {
    "Action": ANY,
    "HTTP": {
        **_leaves("PathExact", "PathPrefix", "PathRegex", "Methods"),
        "Header": [_HEADER],
    },
    "JWT": _JWT,
}
SOURCE: Schema = {
    **_leaves("Name", "Namespace", "Partition", "Peer", "SamenessGroup", "Action", "Type"),
    **_leaves("Precedence", "Description", "LegacyID", "LegacyMeta", "LegacyCreateTime"),
    **_leaves("LegacyUpdateTime"),
    "Permissions": [_PERMISSION],
}
"""One source of a ``service-intentions`` entry."""

_FAILOVER = {
    **_leaves("Service", "ServiceSubset", "Namespace", "Datacenters", "SamenessGroup"),
    "Targets": [
        _leaves("Service", "ServiceSubset", "Namespace", "Partition", "Datacenter", "Peer")
    ],
    "Policy": _leaves("Mode", "Regions"),
}
_ROUTE = {
    "Match": {
        "HTTP": {
            **_leaves("PathExact", "PathPrefix", "PathRegex", "CaseInsensitive", "Methods"),
            "Header": [_HEADER],
            "QueryParam": [_leaves("Name", "Present", "Exact", "Regex")],
        }
    },
    "Destination": {
        **_leaves("Service", "ServiceSubset", "Namespace", "Partition", "PrefixRewrite"),
        **_leaves("RequestTimeout", "IdleTimeout", "NumRetries", "RetryOnConnectFailure"),
        **_leaves("RetryOn", "RetryOnStatusCodes"),
        **_HEADERS,
    },
}

SCHEMAS: Final[dict[str, Schema]] = {
    "service-defaults": {
        **_PROXY,
        **_leaves("Protocol", "ExternalSNI", "MaxInboundConnections", "LocalConnectTimeoutMs"),
        **_leaves("LocalRequestTimeoutMs", "BalanceInboundConnections", "RateLimits"),
        "UpstreamConfig": {"Defaults": _UPSTREAM, "Overrides": [_UPSTREAM]},
        "Destination": _leaves("Addresses", "Port"),
    },
    "proxy-defaults": {
        **_PROXY,
        **_leaves("Config", "AccessLogs", "FailoverPolicy", "PrioritizeByLocality"),
    },
    "service-router": {"Routes": [_ROUTE]},
    "service-splitter": {
        "Splits": [
            {
                **_leaves("Weight", "Service", "ServiceSubset", "Namespace", "Partition"),
                **_HEADERS,
            }
        ]
    },
    "service-resolver": {
        **_leaves("DefaultSubset", "ConnectTimeout", "RequestTimeout", "PrioritizeByLocality"),
        "Subsets": Each(_leaves("Filter", "OnlyPassing")),
        "Redirect": _leaves(
            "Service", "ServiceSubset", "Namespace", "Partition", "Datacenter", "Peer"
        ),
        "Failover": Each(_FAILOVER),
        "LoadBalancer": {
            "Policy": ANY,
            "RingHashConfig": _leaves("MinimumRingSize", "MaximumRingSize"),
            "LeastRequestConfig": _leaves("ChoiceCount"),
            "HashPolicies": [
                {
                    **_leaves("Field", "FieldValue", "SourceIP", "Terminal"),
                    "CookieConfig": _leaves("Session", "TTL", "Path"),
                }
            ],
        },
    },
    "ingress-gateway": {
        "TLS": _TLS,
        "Defaults": _UPSTREAM,
        "Listeners": [
            {
                **_leaves("Port", "Protocol"),
                "TLS": _TLS,
                "Services": [
                    {
                        **_leaves("Name", "Hosts", "Namespace", "Partition", "TLS"),
                        **_LIMITS,
                        "PassiveHealthCheck": ANY,
                        **_HEADERS,
                    }
                ],
            }
        ],
    },
    "terminating-gateway": {
        "Services": [
            _leaves("Name", "Namespace", "CAFile", "CertFile", "KeyFile", "SNI")
            | _leaves("DisableAutoHostRewrite")
        ]
    },
    "service-intentions": {"Sources": [SOURCE], "JWT": _JWT},
    "jwt-provider": {
        **_leaves("Issuer", "Audiences", "ClockSkewSeconds", "CacheConfig"),
        "JSONWebKeySet": {
            "Local": _leaves("JWKS", "Filename"),
            "Remote": {
                **_leaves("URI", "RequestTimeoutMs", "CacheDuration", "FetchAsynchronously"),
                **_leaves("RetryPolicy", "UseSNI", "JWKSCluster"),
            },
        },
        "Locations": [
            {
                "Header": _leaves("Name", "ValuePrefix", "Forward"),
                "QueryParam": _leaves("Name"),
                "Cookie": _leaves("Name"),
            }
        ],
        "Forwarding": _leaves("HeaderName", "PadForwardPayloadHeader"),
    },
    "exported-services": {
        "Services": [
            {
                **_leaves("Name", "Namespace"),
                "Consumers": [_leaves("Partition", "Peer", "SamenessGroup")],
            }
        ]
    },
    "mesh": {
        **_leaves("TransparentProxy", "AllowEnablingPermissiveMutualTLS", "TLS", "HTTP"),
        **_leaves("Peering", "ValidateClusters"),
    },
}
"""Every kind this registry takes, with the fields beyond those that all kinds have."""


def canonical(kind: str, raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the entry with its keys as Consul writes them, and the keys it cannot have."""
    unknown: list[str] = []
    return _object(raw, _COMMON | SCHEMAS[kind], "", unknown), unknown


def canonical_source(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Do the same for one source of a ``service-intentions`` entry."""
    unknown: list[str] = []
    return _object(raw, SOURCE, "", unknown), unknown


def _object(raw: dict[str, Any], schema: Schema, path: str, unknown: list[str]) -> dict[str, Any]:
    names = {fold(name): name for name in schema}
    written: dict[str, Any] = {}
    for key, value in raw.items():
        name = names.get(fold(key))
        if name is None:
            unknown.append(f"{path}{key}")
            continue
        written[name] = _value(value, schema[name], f"{path}{name}", unknown)
    return written


def _value(value: Any, schema: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(schema, dict) and isinstance(value, dict):
        return _object(value, schema, f"{path}.", unknown)
    if isinstance(schema, Each) and isinstance(value, dict):
        return {
            key: _value(each, schema.schema, f"{path}[{key}]", unknown)
            for key, each in value.items()
        }
    if isinstance(schema, list) and isinstance(value, list):
        return [
            _value(each, schema[0], f"{path}[{place}]", unknown) for place, each in enumerate(value)
        ]
    return value
