"""Rate limits that each proxy keeps for itself.

A route's bucket is shared by all who come that way.  A limit *per caller* gives each calling
service a bucket of its own, made when that service first calls: Envoy's *dynamic descriptor*.  A
proxy remembers so many and then forgets the one that was silent longest, so that its memory stays
bounded.  The service is read out of the certificate; whoever shows none shares one bucket with
all others who show none.

A new route table begins with full buckets.

Source: ``envoy.extensions.filters.http.local_ratelimit.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from envoy.type.v3 import token_bucket_pb2

from mesh.envoy.edits import options
from mesh.envoy.filters.parts import Named, always
from mesh.envoy.proto import duration, typed
from mesh.model.inbound import InboundRoute, LocalLimit, TokenBucket

LOCAL_LIMIT: Final = "inbound-local-limit"
"""Name of the filter."""
CALLERS: Final = 1000
"""Callers whose buckets one limit remembers."""

_CALLER: Final = "caller"
_SERVICE: Final = r"re.extract(connection.uri_san_peer_certificate, '.*/svc/(.*)', '\\1')"
"""The service in the caller's identity, in CEL."""


def filters(routes: Sequence[InboundRoute]) -> Iterator[Named]:
    """Yield the filter if one of ``routes`` has a limit."""
    if any(route.limit is not None for route in routes):
        yield LOCAL_LIMIT, local_rate_limit_pb2.LocalRateLimit(stat_prefix=LOCAL_LIMIT)


def on_route(route: InboundRoute) -> Iterator[Named]:
    """Yield what ``route`` says to the filter."""
    if route.limit is not None:
        yield LOCAL_LIMIT, _limit(route.limit)


def token_bucket(bucket: TokenBucket) -> Any:
    """Return ``bucket`` as Envoy fills it."""
    result = token_bucket_pb2.TokenBucket(
        max_tokens=bucket.tokens if bucket.burst is None else bucket.burst,
        fill_interval=duration(bucket.interval),
    )
    result.tokens_per_fill.value = bucket.tokens
    return result


def _limit(limit: LocalLimit) -> Any:
    bucket = token_bucket(limit.bucket)
    result = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=LOCAL_LIMIT,
        token_bucket=bucket,
        filter_enabled=always(),
        filter_enforced=always(),
        response_headers_to_add=options(limit.response_headers),
        # A gRPC caller is told RESOURCE_EXHAUSTED; UNAVAILABLE would have it try again.
        rate_limited_as_resource_exhausted=True,
    )
    result.status.code = limit.status
    if limit.per_caller:
        result.rate_limits.append(_by_caller())
        # An entry without a value stands for every value.
        result.descriptors.add(token_bucket=bucket).entries.add(key=_CALLER)
        result.max_dynamic_descriptors.value = CALLERS
        # The route's own bucket is for those who have none.
        result.always_consume_default_token_bucket.value = False
    return result


def _by_caller() -> Any:
    result = route_components_pb2.RateLimit()
    action = result.actions.add()
    action.extension.name = "envoy.rate_limit_descriptors.expr"
    action.extension.typed_config.CopyFrom(
        typed(expr_pb2.Descriptor(descriptor_key=_CALLER, text=_SERVICE))
    )
    return result
