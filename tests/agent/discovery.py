"""A "zone" made of files: Envoy discovers everything from its state directory, as it would by xDS.

What Envoy then reports in its config dump has the shape that a zone's configuration has.
"""

from __future__ import annotations

import json
from typing import Any

from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.envoy import bootstrap
from mesh.envoy.resource import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE
from mesh.model.identity import ZoneId

Json = dict[str, Any]

FILTERS = "type.googleapis.com/envoy.extensions.filters"
RBAC = f"{FILTERS}.network.rbac.v3.RBAC"
PROXY = f"{FILTERS}.network.tcp_proxy.v3.TcpProxy"
MANAGER = f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{FILTERS}.http.router.v3.Router"


def proxy(settings: AgentSettings) -> bootstrap.Proxy:
    """Return what the bootstrap says of this proxy."""
    return bootstrap.Proxy(
        id=settings.id,
        zone=ZoneId("mesh.example", "dc1"),
        need=settings.need("dc1"),
        xds=(("127.0.0.1", 1),),
        admin_socket="envoy.sock",
    )


def live(settings: AgentSettings, state: StateDir, *, application: int, outbound: int) -> Json:
    """Write the files, and return the bootstrap of an Envoy that follows them.

    Inbound is TCP behind a discovered RBAC filter; ``outbound`` is HTTP by discovered routes.
    """
    assert settings.inbound is not None
    publish(state, "cds", [eds_cluster("local_app")], CLUSTER)
    publish(state, "eds", [assignment("local_app", application)], ENDPOINTS)
    publish(state, "rds", [route("local_app")], ROUTE)
    publish(state, "ecds", [allow_all()], EXTENSION)
    listeners = [tcp_listener(settings.inbound.port), http_listener(outbound)]
    publish(state, "lds", listeners, LISTENER)
    content = bootstrap.static(proxy(settings), [], [])
    content["dynamic_resources"] = {"cds_config": source("cds"), "lds_config": source("lds")}
    return content


def publish(state: StateDir, kind: str, resources: list[Json], type_url: str) -> None:
    """Replace one kind of resource."""
    found = [{"@type": type_url, **each} for each in resources]
    state.write(f"{kind}.json", json.dumps({"resources": found}))


def source(kind: str) -> Json:
    """Return where Envoy finds a kind."""
    file = {"path": f"{kind}.json", "watched_directory": {"path": "."}}
    return {"resource_api_version": "V3", "path_config_source": file}


def socket_address(port: int) -> Json:
    """Return a place on loopback."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def assignment(name: str, port: int) -> Json:
    """Return one endpoint on loopback."""
    endpoint = {"endpoint": {"address": socket_address(port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def eds_cluster(name: str) -> Json:
    """Return a cluster whose endpoints are discovered."""
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": source("eds")},
    }


def allow_all() -> Json:
    """Return the RBAC filter to be discovered."""
    anybody = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    rules = {"action": "ALLOW", "policies": {"all": anybody}}
    config = {"@type": RBAC, "stat_prefix": "inbound", "rules": rules}
    return {"name": "authorization", "typed_config": config}


def tcp_listener(port: int) -> Json:
    """Return an inbound listener: discovered filter, then TCP."""
    discovered = {"config_source": source("ecds"), "type_urls": [RBAC]}
    tcp = {"@type": PROXY, "stat_prefix": "inbound", "cluster": "local_app"}
    filters = [
        {"name": "authorization", "config_discovery": discovered},
        {"name": "tcp", "typed_config": tcp},
    ]
    return {
        "name": "inbound",
        "traffic_direction": "INBOUND",
        "address": socket_address(port),
        "filter_chains": [{"filters": filters}],
    }


def route(cluster: str) -> Json:
    """Return the routes to be discovered."""
    everything = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    host = {"name": "all", "domains": ["*"], "routes": [everything]}
    return {"name": "outbound", "virtual_hosts": [host]}


def http_listener(port: int) -> Json:
    """Return an outbound listener with discovered routes."""
    manager = {
        "@type": MANAGER,
        "stat_prefix": "outbound",
        "rds": {"config_source": source("rds"), "route_config_name": "outbound"},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "name": "outbound",
        "traffic_direction": "OUTBOUND",
        "address": socket_address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
