"""Rate limits that each proxy keeps for itself.

The buckets stand in the filter, and a route says only which one its requests draw from (Envoy's
*descriptors*): however many routes the matches of a rule become, they share the rule's bucket, and
a new route table finds the buckets as the old one left them.  They begin full where one of the
limits themselves changes, or the listener.  Limits that answer alike share a filter.

A limit *per caller* gives each calling service a bucket of its own, made when that service first
calls: Envoy's *dynamic descriptor*.  A proxy remembers so many and then forgets the one that was
silent longest, so that its memory stays bounded.  The service is read out of the certificate;
whoever shows none shares one bucket with all others who show none.

Source: ``envoy.extensions.filters.http.local_ratelimit.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from envoy.type.v3 import token_bucket_pb2

from mesh.envoy.edits import options
from mesh.envoy.filters.parts import Named, always, turned_on
from mesh.envoy.proto import duration, typed
from mesh.model.inbound import InboundRoute, LocalLimit, TokenBucket
from mesh.model.requests import HeaderEdits

CALLERS: Final = 1000
"""Callers whose buckets one limit remembers."""

_NAME: Final = "inbound-local-limit"
"""What the filters' names begin with."""
_RULE: Final = "rule"
_CALLER: Final = "caller"
_NOBODY: Final = "-"
_SERVICE: Final = (
    "connection.mtls ? "
    r"re.extract(connection.uri_san_peer_certificate, '.*/svc/(.*)', '\\1')"
    f" : '{_NOBODY}'"
)
"""The service in the caller's identity, in CEL."""

Names = Mapping[tuple[int, HeaderEdits], str]
"""The name of the filter for each answer."""


def names(routes: Sequence[InboundRoute]) -> Names:
    """Return the filters that the limits of ``routes`` share."""
    answers = dict.fromkeys(_answer(limit) for limit in _limits(routes))
    return {answer: f"{_NAME}:{number}" for number, answer in enumerate(answers, 1)}


def filters(routes: Sequence[InboundRoute], named: Names) -> Iterator[Named]:
    """Yield the filters that the limits of ``routes`` need, which have :func:`names`."""
    for answer, name in named.items():
        found = [limit for limit in _limits(routes) if _answer(limit) == answer]
        yield name, _filter(name, answer, found)


def on_route(route: InboundRoute, named: Names) -> Iterator[Named]:
    """Yield what ``route`` says to its filter, which has one of :func:`names`."""
    if route.limit is not None:
        yield named[_answer(route.limit)], turned_on()


def buckets(route: InboundRoute) -> Iterator[Any]:
    """Yield which bucket the requests of ``route`` draw from."""
    if route.limit is None:
        return
    result = route_components_pb2.RateLimit()
    key = result.actions.add().generic_key
    key.descriptor_key, key.descriptor_value = _RULE, _bucket(route.limit)
    if route.limit.per_caller:
        action = result.actions.add()
        action.extension.name = "envoy.rate_limit_descriptors.expr"
        action.extension.typed_config.CopyFrom(
            typed(expr_pb2.Descriptor(descriptor_key=_CALLER, text=_SERVICE))
        )
    yield result


def token_bucket(bucket: TokenBucket) -> Any:
    """Return ``bucket`` as Envoy fills it."""
    result = token_bucket_pb2.TokenBucket(
        max_tokens=bucket.tokens if bucket.burst is None else bucket.burst,
        fill_interval=duration(bucket.interval),
    )
    result.tokens_per_fill.value = bucket.tokens
    return result


def _limits(routes: Sequence[InboundRoute]) -> tuple[LocalLimit, ...]:
    return tuple(dict.fromkeys(route.limit for route in routes if route.limit is not None))


def _answer(limit: LocalLimit) -> tuple[int, HeaderEdits]:
    return limit.status, limit.response_headers


def _bucket(limit: LocalLimit) -> str:
    """Name the bucket of ``limit``: of its rule, and never one of another size."""
    bucket = limit.bucket
    burst = bucket.tokens if bucket.burst is None else bucket.burst
    return f"{limit.rule}:{bucket.tokens}/{bucket.interval}s/{burst}"


def _filter(name: str, answer: tuple[int, HeaderEdits], limits: Sequence[LocalLimit]) -> Any:
    status, headers = answer
    result = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=name.replace(":", "_"),
        filter_enabled=always(),
        filter_enforced=always(),
        response_headers_to_add=options(headers),
        # A gRPC caller is told RESOURCE_EXHAUSTED; UNAVAILABLE would have it try again.
        rate_limited_as_resource_exhausted=True,
    )
    result.status.code = status
    result.max_dynamic_descriptors.value = CALLERS
    for limit in limits:
        descriptor = result.descriptors.add(token_bucket=token_bucket(limit.bucket))
        descriptor.entries.add(key=_RULE, value=_bucket(limit))
        if limit.per_caller:
            # An entry without a value stands for every value.
            descriptor.entries.add(key=_CALLER)
    return result
