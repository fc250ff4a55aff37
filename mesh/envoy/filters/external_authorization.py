"""Asking an authorization service of the mesh about each request, over gRPC or HTTP.

While the service cannot be reached, ``open`` lets requests pass and ``closed`` answers 503: not
403, which would blame the caller.

Source: ``envoy.extensions.filters.http.ext_authz.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.type.matcher.v3 import string_pb2

from mesh.envoy.filters.parts import Named, grouped, grpc_service, turned_on
from mesh.envoy.proto import duration
from mesh.model.inbound import ExternalAuthorization, FailureMode, InboundRoute
from mesh.model.services import Protocol

AUTHORIZATION: Final = "inbound-authorization"
"""What the filters' names begin with."""

_UNREACHABLE: Final = 503


Names = Mapping[ExternalAuthorization, str]
"""The name of the filter for each way of asking."""


def names(routes: Sequence[InboundRoute]) -> Names:
    """Return the filters that ``routes`` share."""
    asked = [route.authorization for route in routes if route.authorization is not None]
    return grouped(AUTHORIZATION, [(one.service, one) for one in asked])


def filters(named: Names) -> Iterator[Named]:
    """Yield the filters that have :func:`names`."""
    for authorization, name in named.items():
        yield name, _filter(name, authorization)


def on_route(route: InboundRoute, named: Names) -> Iterator[Named]:
    """Yield what ``route`` says to its filter, which has one of :func:`names`."""
    if route.authorization is not None:
        yield named[route.authorization], turned_on()


def _filter(name: str, authorization: ExternalAuthorization) -> Any:
    result = ext_authz_pb2.ExtAuthz(
        transport_api_version=config_source_pb2.ApiVersion.V3,
        failure_mode_allow=authorization.failure is FailureMode.OPEN,
        stat_prefix=name.replace(":", "_"),
    )
    result.status_on_error.code = _UNREACHABLE
    if authorization.max_body:
        result.with_request_body.max_request_bytes = authorization.max_body
        result.with_request_body.allow_partial_message = True
    if authorization.protocol is Protocol.GRPC:
        result.grpc_service.CopyFrom(grpc_service(authorization.service))
        result.grpc_service.timeout.CopyFrom(duration(authorization.timeout))
    else:
        _over_http(result, authorization)
    return result


def _over_http(result: Any, authorization: ExternalAuthorization) -> None:
    service = result.http_service
    service.server_uri.uri = f"http://{authorization.service}"
    service.server_uri.cluster = authorization.service
    service.server_uri.timeout.CopyFrom(duration(authorization.timeout))
    service.path_prefix = authorization.path_prefix
    if authorization.request_headers:
        result.allowed_headers.CopyFrom(_named(authorization.request_headers))
    if authorization.upstream_headers:
        taken = service.authorization_response.allowed_upstream_headers
        taken.CopyFrom(_named(authorization.upstream_headers))


def _named(headers: Sequence[str]) -> Any:
    return string_pb2.ListStringMatcher(
        patterns=[string_pb2.StringMatcher(exact=header, ignore_case=True) for header in headers]
    )
