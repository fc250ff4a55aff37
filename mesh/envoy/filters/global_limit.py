"""Rate limits over all proxies, counted by a rate limit service.

Each request sends the service a descriptor for each limit on its route: ordered keys and values
that name the limit, and the limit itself, so that the service needs no configuration.  Envoy
takes a descriptor's limit out of the request's dynamic metadata only, where a small filter in
front writes all limits that there are.

A value is a fixed text, or one of Envoy's commands.  A single header (``%REQ(x-user)%``) that a
request lacks has the value ``-``: nobody escapes a limit by leaving the header out.  With any
other command that yields nothing the limit does not apply.  Commands need ``envoy.runtime``.

Filters are shared by the limits that ask one service in one manner.

Sources: ``envoy.extensions.filters.http.ratelimit.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter)
and ``envoy.config.route.v3.RateLimit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envoy.config.core.v3 import config_source_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.http.set_metadata.v3 import set_metadata_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2

from mesh.envoy.filters.parts import Named, grouped, grpc_service, turned_on
from mesh.envoy.proto import duration, typed
from mesh.model.inbound import FailureMode, GlobalLimit, InboundRoute

GLOBAL_LIMIT: Final = "inbound-global-limit"
"""What the filters' names begin with."""
LIMITS: Final = "inbound-global-limit-values"
"""Name of the filter that writes the limits into the metadata."""

_NAMESPACE: Final = "mesh.limits"
_HEADER: Final = re.compile(r"%REQ\(([A-Za-z0-9_-]+)\)%", re.ASCII)
_HEADER_VALUE: Final = "'{name}' in request.headers ? request.headers['{name}'] : '-'"
_UNREACHABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Manner:
    """Whom to ask, and how: what is one and the same for a whole filter."""

    service: str
    domain: str
    failure: FailureMode
    timeout: float


Names = Mapping[Manner, str]
"""The name of the filter for each manner of asking."""


def names(routes: Sequence[InboundRoute]) -> Names:
    """Return the filters that the limits of ``routes`` share."""
    manners = [_manner(limit) for route in routes for limit in route.global_limits]
    return grouped(GLOBAL_LIMIT, [(f"{one.service}:{one.domain}", one) for one in manners])


def filters(routes: Sequence[InboundRoute], named: Names) -> Iterator[Named]:
    """Yield the filters that the limits of ``routes`` need, which have :func:`names`."""
    limits = [limit for route in routes for limit in route.global_limits]
    if limits:
        yield LIMITS, _values(limits)
    for manner, name in named.items():
        yield name, _filter(name, manner)


def on_route(route: InboundRoute, named: Names) -> Iterator[Named]:
    """Yield what ``route`` says to the filters, which have :func:`names`."""
    if not route.global_limits:
        return
    yield LIMITS, turned_on()
    by_filter: dict[str, list[Any]] = {}
    for limit in route.global_limits:
        by_filter.setdefault(named[_manner(limit)], []).append(_limit(limit))
    for name, limits in by_filter.items():
        yield name, rate_limit_pb2.RateLimitPerRoute(rate_limits=limits)


def _manner(limit: GlobalLimit) -> Manner:
    return Manner(limit.service, limit.domain, limit.failure, limit.timeout)


def _values(limits: Sequence[GlobalLimit]) -> Any:
    result = set_metadata_pb2.Config()
    values = result.metadata.add(metadata_namespace=_NAMESPACE, allow_overwrite=True).value
    for limit in sorted(limits, key=_value):
        values[_value(limit)] = {
            "requests_per_unit": limit.limit,
            "unit": limit.unit.upper(),
        }
    return result


def _value(limit: GlobalLimit) -> str:
    return f"{limit.limit}/{limit.unit}"


def _filter(name: str, manner: Manner) -> Any:
    result = rate_limit_pb2.RateLimit(
        domain=manner.domain,
        timeout=duration(manner.timeout),
        failure_mode_deny=manner.failure is FailureMode.CLOSED,
        # A gRPC caller is told RESOURCE_EXHAUSTED; UNAVAILABLE would have it try again.
        rate_limited_as_resource_exhausted=True,
        stat_prefix=name.replace(":", "_"),
    )
    result.status_on_error.code = _UNREACHABLE
    service = result.rate_limit_service
    service.transport_api_version = config_source_pb2.ApiVersion.V3
    service.grpc_service.CopyFrom(grpc_service(manner.service))
    return result


def _limit(limit: GlobalLimit) -> Any:
    result = route_components_pb2.RateLimit()
    for key, value in limit.descriptor:
        _entry(result.actions.add(), key, value)
    where = result.limit.dynamic_metadata.metadata_key
    where.key = _NAMESPACE
    where.path.add(key=_value(limit))
    return result


def _entry(action: Any, key: str, value: str) -> None:
    if header := _HEADER.fullmatch(value):
        expression = _HEADER_VALUE.format(name=header.group(1).lower())
        action.extension.name = "envoy.rate_limit_descriptors.expr"
        action.extension.typed_config.CopyFrom(
            typed(expr_pb2.Descriptor(descriptor_key=key, text=expression))
        )
    else:
        action.generic_key.descriptor_key = key
        action.generic_key.descriptor_value = value
