"""Envoy's bootstrap: the little that Envoy must know before it can ask the zone for the rest.

There are two, with equal node, admin and limits.  :func:`live` reaches the zone's xDS server
over TLS 1.3 and has nothing else; listeners and clusters come by incremental ADS.
:func:`static` holds listeners and clusters itself and asks nobody: the agent starts Envoy from it
while no zone answers.

Both are plain JSON values, so that the agent, whose memory is a budget, needs no protobuf.  Every
path is relative to Envoy's working directory, the proxy's state directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mesh.envoy import files
from mesh.envoy.runtime import RUNTIME
from mesh.model.identity import ZoneId
from mesh.model.proxies import METADATA_KEY, ProxyNeed, Role

Json = dict[str, Any]
"""A JSON object."""

ADMIN_MODE: Final = 0o600
"""Who may speak to the admin socket: its owner."""

_TYPE: Final = "type.googleapis.com/"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UPSTREAM_TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_CONNECTION_LIMIT: Final = (
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)

_KEPT_PREFIXES: Final = ("server.", "listener_manager.", "cluster_manager.", "control_plane.")
_KEPT_SUFFIXES: Final = (
    # Has the configuration changed (the agent's poll), and was any of it refused?
    "update_success",
    "update_rejected",
    "config_reload",
    # Connections and bytes.
    "_cx_active",
    "_cx_total",
    "_cx_connect_fail",
    "_cx_connect_timeout",
    "_cx_rx_bytes_total",
    "_cx_tx_bytes_total",
    "ssl.connection_error",
    "ssl.fail_verify_san",
    "ssl.fail_verify_error",
    "ssl.handshake",
    # Requests.
    "_rq_active",
    "_rq_total",
    "_rq_xx",
    "_rq_1xx",
    "_rq_2xx",
    "_rq_3xx",
    "_rq_4xx",
    "_rq_5xx",
    "_rq_time",
    "_rq_timeout",
    "_rq_retry",
    "_rq_retry_success",
    "_rq_pending_overflow",
    # Who was let in, and where a request could go.
    "rbac.allowed",
    "rbac.denied",
    "membership_healthy",
    "membership_total",
    "ejections_active",
    # What inbound policies did.  Some filters have their names before the last part.
    "jwt_authn.allowed",
    "jwt_authn.denied",
    ".rate_limited",
    ".limited_connections",
    ".over_limit",
    ".denied",
    ".error",
    ".failure_mode_allowed",
    "fault.aborts_injected",
    "fault.delays_injected",
    "fault.response_rl_injected",
)


_RECONNECTING: Final = {"base_interval": "0.5s", "max_interval": "10s"}
"""Between attempts to reach the zone, with jitter.  Envoy begins anew only once the zone has said
something, and a zone that comes back with nothing new says nothing: so pauses grow from one absence
to the next, to half a minute if nothing is said here."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What the bootstrap says of one proxy.

    ``xds`` are the zone's xDS servers, each a host and a port.  ``admin_socket`` is a path
    relative to the state directory.
    """

    id: str
    zone: ZoneId
    need: ProxyNeed
    xds: tuple[tuple[str, int], ...]
    admin_socket: str
    max_connections: int = 50_000


def live(proxy: Proxy) -> Json:
    """Return the bootstrap of an Envoy that follows the zone."""
    return {
        **_common(proxy),
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                # Otherwise the node, with its hundreds of extensions, rides on every message.
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": files.XDS_CLUSTER,
                            "retry_policy": {"retry_back_off": _RECONNECTING},
                        },
                        "timeout": "0s",
                    }
                ],
            },
            "cds_config": _from_zone(),
            "lds_config": _from_zone(),
        },
        "static_resources": {"clusters": [_zone_cluster(proxy), *_own_clusters(proxy)]},
    }


def static(proxy: Proxy, listeners: Sequence[Json], clusters: Sequence[Json]) -> Json:
    """Return the bootstrap of an Envoy that has all it needs and asks nobody."""
    return {
        **_common(proxy),
        "static_resources": {
            "listeners": list(listeners),
            "clusters": [*clusters, *_own_clusters(proxy)],
        },
    }


def with_admin_socket(bootstrap: Mapping[str, Any], path: str) -> Json:
    """Return ``bootstrap`` with its admin interface at ``path``."""
    return {**bootstrap, "admin": _admin(path)}


def _common(proxy: Proxy) -> Json:
    return {
        "node": {
            "id": f"{proxy.need.service}/{proxy.id}",
            "cluster": proxy.need.service,
            "locality": {"zone": proxy.zone.zone},
            "metadata": {METADATA_KEY: proxy.need.to_metadata()},
        },
        "admin": _admin(proxy.admin_socket),
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _kept_stats()}}},
        "layered_runtime": {"layers": [{"name": "mesh", "static_layer": dict(RUNTIME)}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE + _CONNECTION_LIMIT,
                        "max_active_downstream_connections": proxy.max_connections,
                    },
                }
            ]
        },
    }


def _admin(path: str) -> Json:
    return {
        # The admin interface must answer when all the connections are taken, and is not proxied.
        "ignore_global_conn_limit": True,
        "address": {"pipe": {"path": path, "mode": ADMIN_MODE}},
    }


def _kept_stats() -> list[Json]:
    return [{"prefix": prefix} for prefix in _KEPT_PREFIXES] + [
        {"suffix": suffix} for suffix in _KEPT_SUFFIXES
    ]


def _from_zone() -> Json:
    # No time limit: Envoy must not call itself ready before the zone has told it anything.
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _zone_cluster(proxy: Proxy) -> Json:
    return {
        "name": files.XDS_CLUSTER,
        # A name with several addresses gives several endpoints; an address is its own.
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": files.XDS_CLUSTER,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {"socket_address": {"address": host, "port_value": port}}
                            }
                        }
                        for host, port in proxy.xds
                    ]
                }
            ],
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "15s", "timeout": "5s"}
                    }
                },
            }
        },
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 15, "keepalive_interval": 5}
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": _TYPE + _UPSTREAM_TLS, **_zone_tls(proxy.zone)},
        },
    }


def _own_clusters(proxy: Proxy) -> list[Json]:
    """Return the way to the agent, of whom an edge gateway's Envoy asks certificates."""
    if proxy.need.role is not Role.EDGE:
        return []
    place = {"endpoint": {"address": {"pipe": {"path": files.CERTIFICATES_SOCKET}}}}
    return [
        {
            "name": files.AGENT_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": files.AGENT_CLUSTER,
                "endpoints": [{"lb_endpoints": [place]}],
            },
        }
    ]


def _zone_tls(zone: ZoneId) -> Json:
    return {
        "sni": zone.server_name,
        "common_tls_context": {
            # The maximum too: for an upstream Envoy would stop at TLS 1.2.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": ["X25519MLKEM768", "X25519"],
            },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [
                _secret(files.IDENTITY_SECRET, files.IDENTITY_SDS)
            ],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": zone.uri}}
                    ]
                },
                "validation_context_sds_secret_config": _secret(
                    files.BUNDLE_SECRET, files.BUNDLE_SDS
                ),
            },
        },
    }


def _secret(name: str, file: str) -> Json:
    return {
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": file,
                "watched_directory": {"path": files.WATCHED_DIRECTORY},
            },
        },
    }
