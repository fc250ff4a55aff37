"""Entries by which a service is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mesh.sources.consul import entries
from tests.docs.consul_samples.sampled import Sampled

_HASHED: Final = [
    {"Field": "header", "FieldValue": "x-user", "Terminal": True},
    {"SourceIP": True},
]

SAMPLED: Final[Sequence[Sampled]] = (
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
)
