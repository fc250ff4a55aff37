"""How service-defaults have upstreams treated, and everything wrong with that at once."""

from mesh.model.destinations import Detectors, Limits, Outlier
from mesh.model.entries import GatewayMode, ServiceDefaults, UpstreamDefaults
from mesh.model.services import Protocol
from mesh.sources.consul.entries import parse_service_defaults
from tests.sources.consul.violations import paths


def test_service_defaults_with_how_upstreams_are_treated() -> None:
    found = parse_service_defaults(
        {
            "Name": "web",
            "Protocol": "http",
            "ExternalSNI": "web.example.com",
            "UpstreamConfig": {
                "Defaults": {
                    "Limits": {"MaxConnections": 10, "MaxPendingRequests": 0},
                    "MeshGateway": {"Mode": "local"},
                    "ConnectTimeoutMs": 500,
                },
                "Overrides": [
                    {
                        "Name": "api",
                        "Limits": {"MaxConcurrentRequests": 7},
                        "PassiveHealthCheck": {
                            "Interval": "10s",
                            "MaxFailures": 3,
                            "EnforcingConsecutive5xx": 50,
                            "MaxEjectionPercent": 20,
                            "BaseEjectionTime": 30_000_000_000,
                        },
                    },
                    {"Name": "db", "PassiveHealthCheck": {}, "Limits": {}},
                    {"Name": "old", "PassiveHealthCheck": {"EnforcingConsecutive5xx": 0}},
                ],
            },
            "MaxInboundConnections": 100,
            "LocalConnectTimeoutMs": 1500,
            "LocalRequestTimeoutMs": 0,
        }
    )
    assert found == ServiceDefaults(
        "web",
        Protocol.HTTP,
        "web.example.com",
        UpstreamDefaults(
            Limits(connections=10, pending=0), connect_timeout=0.5, gateway=GatewayMode.LOCAL
        ),
        {
            "api": UpstreamDefaults(
                Limits(requests=7),
                Outlier(
                    Detectors(consecutive_5xx=3, consecutive_5xx_enforced=50),
                    interval=10,
                    base_ejection=30,
                    max_ejection_percent=20,
                ),
            ),
            "db": UpstreamDefaults(outlier=Outlier(Detectors(consecutive_5xx=5))),
            "old": UpstreamDefaults(outlier=Outlier(Detectors())),
        },
        max_inbound_connections=100,
        local_connect_timeout=1.5,
    )


def test_everything_wrong_with_how_upstreams_are_treated_at_once() -> None:
    raw = {
        "Name": "web",
        "UpstreamConfig": {
            "Defaults": {"Name": "x", "Limits": {"MaxConnections": -1, "MaxRequests": 1}},
            "Overrides": [
                {"Name": "api", "ConnectTimeoutMs": 10**15},
                {"Name": "api", "Peer": "other", "PassiveHealthCheck": {"MaxEjectionPercent": 101}},
                {"PassiveHealthCheck": {"EnforcingConsecutive5xx": 200, "Interval": "x"}},
            ],
            "Others": [],
        },
        "ExternalSNI": 7,
        "MaxInboundConnections": -1,
        "LocalConnectTimeoutMs": "1s",
    }
    config = "UpstreamConfig"
    assert set(paths(parse_service_defaults, raw)) == {
        f"{config}.Defaults.Name",
        f"{config}.Defaults.Limits.MaxConnections",
        f"{config}.Defaults.Limits.MaxRequests",
        f"{config}.Overrides[0].ConnectTimeoutMs",
        f"{config}.Overrides[1].Name",
        f"{config}.Overrides[1].Peer",
        f"{config}.Overrides[1].PassiveHealthCheck.MaxEjectionPercent",
        f"{config}.Overrides[2].Name",
        f"{config}.Overrides[2].PassiveHealthCheck.EnforcingConsecutive5xx",
        f"{config}.Overrides[2].PassiveHealthCheck.Interval",
        f"{config}.Others",
        "ExternalSNI",
        "MaxInboundConnections",
        "LocalConnectTimeoutMs",
    }
