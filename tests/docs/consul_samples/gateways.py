"""Entries of gateways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mesh.sources.consul import entries
from tests.docs.consul_samples.sampled import EDITS, Sampled

SAMPLED: Final[Sequence[Sampled]] = (
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
                                "RequestHeaders": EDITS,
                                "ResponseHeaders": EDITS,
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
)
