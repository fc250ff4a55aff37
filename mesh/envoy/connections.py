"""Limits of connections, new and at once, as network filters in front of all others.

A connection over a limit is closed before its handshake.

Sources: ``envoy.extensions.filters.network.connection_limit.v3`` and
``envoy.extensions.filters.network.local_ratelimit.v3``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.local_ratelimit.v3 import local_rate_limit_pb2

from mesh.envoy.filters.local_limit import token_bucket
from mesh.envoy.filters.parts import Named
from mesh.model.inbound import InboundTraffic, TokenBucket

RATE: Final = "inbound-connection-rate"
"""Name of the filter that limits new connections."""
LIMIT: Final = "inbound-connection-limit"
"""Name of the filter that limits how many there are."""


def filters(inbound: InboundTraffic) -> Iterator[Named]:
    """Yield the filters that ``inbound`` asks for, in the order in which they stand."""
    if inbound.connection_rate is not None:
        yield RATE, _rate(inbound.connection_rate)
    if inbound.limits is not None and inbound.limits.connections is not None:
        yield LIMIT, _limit(inbound.limits.connections)


def _rate(bucket: TokenBucket) -> Any:
    return local_rate_limit_pb2.LocalRateLimit(stat_prefix=RATE, token_bucket=token_bucket(bucket))


def _limit(connections: int) -> Any:
    result = connection_limit_pb2.ConnectionLimit(stat_prefix=LIMIT)
    result.max_connections.value = connections
    return result
