"""The callee's side of HTTP: what happens to a request before the application sees it.

The intermediate form's inbound routes become two things.  :func:`filters` are the HTTP filters
that some route needs, in the order in which a request meets them; each is delivered as an
extension configuration and stands, turned off, in the connection manager
(``http.inbound_manager_by_routes``).  :func:`route_table` is the route configuration that turns
them on: each route carries exactly what applies to it.

The order: a local limit spares everything behind it; tokens are verified before an authorization
service reads them; a global limit counts only what was authorized; faults come last, as if the
application had failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from envoy.config.route.v3 import route_pb2

from mesh.envoy.filters import external_authorization, fault, global_limit, local_limit, tokens
from mesh.envoy.filters.parts import Named
from mesh.envoy.matching import route_match
from mesh.envoy.proto import duration, typed
from mesh.model.inbound import InboundRoute
from mesh.model.intentions import JwtProvider

_NO_PROVIDERS: Final[Mapping[str, JwtProvider]] = MappingProxyType({})


def filters(
    routes: Sequence[InboundRoute],
    *,
    providers: Mapping[str, JwtProvider] = _NO_PROVIDERS,
    jwks_cluster: Callable[[JwtProvider], str] | None = None,
) -> tuple[Named, ...]:
    """Return the filters that ``routes`` need: names, and protobuf messages.

    ``providers`` are all ``jwt-provider`` entries by name; ``jwks_cluster`` names the cluster
    from which a provider's remote key set is fetched (by default, the provider's name).
    """
    return (
        *local_limit.filters(routes, local_limit.names(routes)),
        *tokens.filters(routes, providers, jwks_cluster or _by_name),
        *external_authorization.filters(external_authorization.names(routes)),
        *global_limit.filters(routes, global_limit.names(routes)),
        *fault.filters(routes),
    )


def route_table(
    name: str,
    routes: Sequence[InboundRoute],
    *,
    cluster: str,
    trust_domain: str,
    providers: Mapping[str, JwtProvider] = _NO_PROVIDERS,
) -> route_pb2.RouteConfiguration:
    """Return the route configuration ``name``, which passes requests on to ``cluster``.

    A request may take as long as its caller waits, unless a route says otherwise.
    """
    config = route_pb2.RouteConfiguration(name=name)
    config.validate_clusters.value = False
    host = config.virtual_hosts.add(name=name, domains=["*"])
    limited = local_limit.names(routes)
    asked, counted = external_authorization.names(routes), global_limit.names(routes)
    for route in routes:
        built = host.routes.add(match=route_match(route.match, trust_domain=trust_domain))
        if route.refusal:
            built.direct_response.status = HTTPStatus.FORBIDDEN
            built.direct_response.body.inline_string = route.refusal
            continue
        built.route.cluster = cluster
        built.route.timeout.CopyFrom(duration(route.timeouts.request or 0))
        if route.timeouts.idle is not None:
            built.route.idle_timeout.CopyFrom(duration(route.timeouts.idle))
        built.route.rate_limits.extend(local_limit.buckets(route))
        said = (
            *local_limit.on_route(route, limited),
            *tokens.on_route(route, providers),
            *external_authorization.on_route(route, asked),
            *global_limit.on_route(route, counted),
            *fault.on_route(route),
        )
        for filter_name, message in said:
            built.typed_per_filter_config[filter_name].CopyFrom(typed(message))
    return config


def _by_name(provider: JwtProvider) -> str:
    return provider.name
