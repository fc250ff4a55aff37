"""HTTP connection managers.

A manager appears only where a request must be told from its neighbour.  Paths are normalised
and slashes merged before any rule sees them, as L7 intentions require (CVE-2024-10005).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2

from mesh.envoy.cors import cors_filter
from mesh.envoy.listener import discovery
from mesh.envoy.proto import duration, typed
from mesh.envoy.tls import from_ads

_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_ROUTER: Final = "envoy.filters.http.router"
_FORBIDDEN: Final = 403


def outbound_manager(
    stat_prefix: str, *, route: str, cors: bool = False
) -> listener_components_pb2.Filter:
    """Route what the application sends by the route configuration ``route``, sent over ADS.

    The application's own headers pass unchanged; only a forged client certificate header is
    taken away.  ``cors`` must be asked for if one of the routes has cross-origin answers.
    """
    manager = base_manager(stat_prefix)
    manager.rds.route_config_name = route
    manager.rds.config_source.CopyFrom(from_ads())
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    if cors:
        manager.http_filters.append(cors_filter())
    manager.http_filters.append(router())
    return manager_filter(manager)


def inbound_manager(
    stat_prefix: str,
    *,
    cluster: str,
    filters: Sequence[tuple[str, str]],
    refusal: str,
    tells_caller: bool = True,
) -> listener_components_pb2.Filter:
    """Pass to ``cluster`` what the ``filters`` (name, type URL; sent over ADS) let through.

    ``refusal`` is the body (Envoy's access log format) of a 403 that the proxy itself gives.
    The application learns its caller's identity from ``x-forwarded-client-cert``, unless it is
    none that may know (``tells_caller``).
    """
    manager = base_manager(stat_prefix)
    manager.route_config.CopyFrom(_route_to(stat_prefix, cluster))
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    if tells_caller:
        manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    for name, type_url in filters:
        manager.http_filters.add(name=name, config_discovery=discovery(type_url))
    manager.http_filters.append(router())
    mapper = manager.local_reply_config.mappers.add()
    comparison = mapper.filter.status_code_filter.comparison
    comparison.value.default_value = _FORBIDDEN
    # The runtime key is required by Envoy's validation; nobody sets it.
    comparison.value.runtime_key = "mesh.refusal"
    mapper.body_format_override.text_format_source.inline_string = refusal
    return manager_filter(manager)


def inbound_manager_by_routes(
    stat_prefix: str,
    *,
    gates: Sequence[tuple[str, str]],
    filters: Sequence[tuple[str, str]],
    refusals: Sequence[tuple[str, str]],
    told: Sequence[str] = (),
    idle_timeout: float | None = None,
) -> listener_components_pb2.Filter:
    """Pass what the ``gates`` let through by the route configuration ``stat_prefix``.

    Gates and ``filters`` are a name and a type URL each; like the routes they are sent over ADS.
    Gates judge every request; of the filters, which come behind, each does nothing until a route
    turns it on.  For answers of the proxy itself ``refusals`` hold how the details of the
    response code begin and the body (Envoy's access log format); the first that fits is taken.
    Headers by which a filter tells the application something (``told``) are taken from every
    request first: no caller shall say it in the filter's place.  The application learns its
    caller's identity from ``x-forwarded-client-cert``.
    """
    manager = base_manager(stat_prefix)
    manager.rds.route_config_name = stat_prefix
    manager.rds.config_source.CopyFrom(from_ads())
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    if idle_timeout is not None:
        manager.common_http_protocol_options.idle_timeout.CopyFrom(duration(idle_timeout))
    if told:
        manager.early_header_mutation_extensions.append(_without(told))
    for name, type_url in gates:
        manager.http_filters.add(name=name, config_discovery=discovery(type_url))
    for name, type_url in filters:
        manager.http_filters.add(name=name, config_discovery=discovery(type_url), disabled=True)
    manager.http_filters.append(router())
    for details, body in refusals:
        mapper = manager.local_reply_config.mappers.add()
        mapper.filter.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
        expression = cel_pb2.ExpressionFilter(
            expression=f"response.code_details.startsWith('{details}')"
        )
        mapper.filter.extension_filter.typed_config.CopyFrom(typed(expression))
        mapper.body_format_override.text_format_source.inline_string = body
    return manager_filter(manager)


def capturing_manager(
    stat_prefix: str, *, domains: Sequence[str], cluster: str, refusal: str
) -> listener_components_pb2.Filter:
    """Pass requests for hosts of ``domains`` (any port) to ``cluster``; answer others with 403.

    ``refusal`` is the body, in Envoy's access log format.  The application speaks with a stranger,
    so a request goes on as it came: its path is nobody's business here.
    """
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        skip_xff_append=True,
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
        path_with_escaped_slashes_action=hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED,
        stream_idle_timeout=duration(0),
    )
    manager.generate_request_id.value = False
    manager.upgrade_configs.add(upgrade_type="websocket")
    # To a stranger's server there is no x-forwarded-client-cert of ours: it goes as it came, too.
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.ALWAYS_FORWARD_ONLY
    config = manager.route_config
    config.name = stat_prefix
    config.validate_clusters.value = False
    config.ignore_port_in_host_matching = True
    passing = config.virtual_hosts.add(name="passing", domains=domains).routes.add()
    passing.match.prefix = "/"
    passing.route.cluster = cluster
    passing.route.timeout.CopyFrom(duration(0))
    _refuse_all(config, refusal)
    manager.http_filters.append(router())
    return manager_filter(manager)


def refusing_manager(stat_prefix: str, *, refusal: str) -> listener_components_pb2.Filter:
    """Answer every request with 403; ``refusal`` is the body, in Envoy's access log format."""
    manager = base_manager(stat_prefix)
    manager.route_config.name = stat_prefix
    _refuse_all(manager.route_config, refusal)
    manager.http_filters.append(router())
    return manager_filter(manager)


def _refuse_all(config: route_pb2.RouteConfiguration, refusal: str) -> None:
    refused = config.virtual_hosts.add(name="refused", domains=["*"]).routes.add()
    refused.match.prefix = "/"
    refused.direct_response.status = _FORBIDDEN
    refused.direct_response.body_format.text_format_source.inline_string = refusal


def _route_to(name: str, cluster: str) -> route_pb2.RouteConfiguration:
    """Send everything to ``cluster``, where it may take as long as its caller waits."""
    config = route_pb2.RouteConfiguration(name=name)
    config.validate_clusters.value = False
    route = config.virtual_hosts.add(name=name, domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.route.cluster = cluster
    route.route.timeout.CopyFrom(duration(0))
    return config


def _without(headers: Sequence[str]) -> extension_pb2.TypedExtensionConfig:
    mutation = header_mutation_pb2.HeaderMutation()
    for name in headers:
        mutation.mutations.add(remove=name)
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation", typed_config=typed(mutation)
    )


def base_manager(stat_prefix: str) -> hcm_pb2.HttpConnectionManager:
    """Return what every manager between services has."""
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        merge_slashes=True,
        skip_xff_append=True,
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
        path_with_escaped_slashes_action=hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED,
        stream_idle_timeout=duration(0),
    )
    manager.normalize_path.value = True
    manager.preserve_external_request_id = True
    manager.upgrade_configs.add(upgrade_type="websocket")
    return manager


def router() -> hcm_pb2.HttpFilter:
    """Return the last filter of every manager."""
    last = router_pb2.Router(suppress_envoy_headers=True)
    return hcm_pb2.HttpFilter(name=_ROUTER, typed_config=typed(last))


def manager_filter(manager: hcm_pb2.HttpConnectionManager) -> listener_components_pb2.Filter:
    """Return ``manager`` as a network filter."""
    return listener_components_pb2.Filter(name=_MANAGER, typed_config=typed(manager))
