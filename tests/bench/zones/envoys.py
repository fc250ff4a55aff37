"""The Envoys of the bench of a gateway: a front and a back, and what stands between them.  Pure.

The front takes plain HTTP and dials by mutual TLS, with the name that asks for a service; the back
ends that TLS and answers by itself.  Between them stands a zone's gateway as the product makes it,
or a TCP proxy that has nothing but its destination, or nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format

from mesh.demo.loopback import HOST
from mesh.envoy import bootstrap, cluster, endpoint, zone_gateway
from mesh.model.identity import ZoneId
from mesh.model.names import ZONE_GATEWAY, sni
from mesh.model.proxies import Inbound, ProxyNeed, Role
from mesh.model.services import Instance

Json = dict[str, Any]

ZONE: Final = ZoneId("bench.mesh", "dc1")
SERVICE: Final = "api"
BODY_BYTES: Final = 1024
_TYPE: Final = "type.googleapis.com/envoy.extensions."
_MANAGER: Final = _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Final = _TYPE + "filters.http.router.v3.Router"
_OPTIONS: Final = "upstreams.http.v3.HttpProtocolOptions"
_TLS_PARAMS: Final = {
    "tls_minimum_protocol_version": "TLSv1_3",
    "tls_maximum_protocol_version": "TLSv1_3",
    "ecdh_curves": ["X25519MLKEM768", "X25519"],
}


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files: whom to believe, who one is, and the key."""

    bundle: Path
    certificate: Path
    key: Path

    def context(self) -> Json:
        """Return what both ends of a TLS connection have in common."""
        return {
            "tls_params": _TLS_PARAMS,
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(self.certificate)},
                    "private_key": {"filename": str(self.key)},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(self.bundle)}},
        }


def name() -> str:
    """Return the name (SNI) by which the service is asked for."""
    return sni(SERVICE, ZONE.zone, ZONE.trust_domain)


def front(
    identity: Identity, ways: Mapping[str, tuple[int, int]], once: Mapping[str, tuple[int, int]]
) -> Json:
    """Return an Envoy that leads HTTP on by mutual TLS.

    ``ways`` are names, each with the port to listen on and the port to dial; those of ``once`` open
    a connection for each request.
    """
    all_ways = {**ways, **once}
    return _static(
        [
            _listener(way, listen, _manager({"route": {"cluster": way}}))
            for way, (listen, _) in all_ways.items()
        ],
        [_upstream(way, dial, identity, once=way in once) for way, (_, dial) in all_ways.items()],
    )


def back(identity: Identity, port: int) -> Json:
    """Return an Envoy that ends mutual TLS and answers every request."""
    body = {"inline_string": "x" * BODY_BYTES}
    listener = _listener("back", port, _manager({"direct_response": {"status": 200, "body": body}}))
    listener["filter_chains"][0]["transport_socket"] = _tls(
        "DownstreamTlsContext",
        require_client_certificate=True,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
        common_tls_context=identity.context(),
    )
    return _static([listener], [])


def plain(port: int, dial: int) -> Json:
    """Return an Envoy that forwards bytes, and no more."""
    proxy = {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": _TYPE + "filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "plain",
            "cluster": "back",
        },
    }
    return _static([_listener("plain", port, proxy)], [_cluster("back", dial)])


def gateway(port: int, dial: int, admin: Path) -> Json:
    """Return the product's gateway, its endpoints put into its cluster."""
    listener = zone_gateway.gateway_listener(
        HOST, port, zone=ZONE.zone, trust_domain=ZONE.trust_domain
    )
    way = cluster.of_workload(name())
    way.type = way.DiscoveryType.Value("STATIC")
    way.ClearField("eds_cluster_config")
    instance = Instance(id="api-1", node="host", address=HOST, port=dial)
    way.load_assignment.CopyFrom(endpoint.assignment(name(), [instance]))
    need = ProxyNeed(ZONE_GATEWAY, ZONE.zone, Inbound(HOST, port, HOST, 1), role=Role.ZONE_GATEWAY)
    proxy = bootstrap.Proxy("gateway-1", ZONE, need, (), str(admin))
    return bootstrap.static(proxy, [_json(listener)], [_json(way)])


def _json(message: Any) -> Json:
    found: Json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def _static(listeners: list[Json], clusters: list[Json]) -> Json:
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _listener(called: str, port: int, filter_: Json) -> Json:
    return {"name": called, "address": _address(port), "filter_chains": [{"filters": [filter_]}]}


def _manager(action: Json) -> Json:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _MANAGER,
            "stat_prefix": "http",
            "route_config": {"virtual_hosts": hosts},
            "http_filters": [router],
        },
    }


def _upstream(called: str, port: int, identity: Identity, *, once: bool) -> Json:
    options: Json = {
        "@type": _TYPE + _OPTIONS,
        "explicit_http_config": {"http_protocol_options": {}},
    }
    if once:
        options["common_http_protocol_options"] = {"max_requests_per_connection": 1}
    secure = _tls(
        "UpstreamTlsContext",
        sni=name(),
        # As the product: every connection is a whole handshake.
        max_session_keys=0,
        common_tls_context=identity.context(),
    )
    return {
        **_cluster(called, port),
        "transport_socket": secure,
        "typed_extension_protocol_options": {f"envoy.extensions.{_OPTIONS}": options},
    }


def _cluster(called: str, port: int) -> Json:
    places = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": called,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": called, "endpoints": places},
    }


def _tls(kind: str, **said: Any) -> Json:
    typed = {"@type": f"{_TYPE}transport_sockets.tls.v3.{kind}", **said}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def _address(port: int) -> Json:
    return {"socket_address": {"address": HOST, "port_value": port}}
