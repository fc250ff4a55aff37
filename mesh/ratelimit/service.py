"""``envoy.service.ratelimit.v3.RateLimitService`` over gRPC.

A request that cannot be decided is answered UNAVAILABLE: whether traffic then passes is a matter
of the caller's policy, not of this service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.ratelimit.v3 import rls_pb2

from mesh.config.types import HostPort
from mesh.model.violations import InvalidInputError
from mesh.ratelimit import requests, responses
from mesh.ratelimit.errors import PortTakenError, StoreUnavailableError
from mesh.ratelimit.metrics import Metrics
from mesh.ratelimit.requests import Hit
from mesh.ratelimit.store import Store

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
"""Name of the service, as Envoy calls it."""

_OPTIONS: Final = (
    # Without this, a second service on the same port would silently get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024),
)
_MAX_CALLS: Final = 4_096
"""Calls under way; more are refused, since none of them would be answered in time."""

logger = logging.getLogger(__name__)


class RateLimitService:
    """Answers ``ShouldRateLimit`` from the counters of ``store``."""

    def __init__(self, store: Store, metrics: Metrics, *, headers: bool) -> None:
        """Add the ``RateLimit-*`` headers to responses if ``headers``."""
        self._store = store
        self._metrics = metrics
        self._headers = headers

    async def should_rate_limit(self, request: Any, context: Any) -> Any:
        """Answer one ``RateLimitRequest``."""
        began = time.perf_counter()
        try:
            with self._metrics.in_flight.track_inprogress():
                built = await self._decide(requests.read(request))
        except InvalidInputError as error:
            self._metrics.requests.labels("invalid").inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreUnavailableError as error:
            self._metrics.requests.labels("unavailable").inc()
            self._metrics.store_failures.labels(error.kind).inc()
            logger.debug("no decision", extra={"reason": str(error)})
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        self._metrics.decision.observe(time.perf_counter() - began)
        return built

    async def _decide(self, hits: Sequence[Hit | None]) -> Any:
        limited = [hit for hit in hits if hit is not None]
        # Without a limit nothing is counted, and nothing needs to be there.
        verdicts = iter(await self._store.decide(limited) if limited else ())
        answered = [None if hit is None else (hit, next(verdicts)) for hit in hits]
        for each in answered:
            self._metrics.descriptors.labels(_verdict(each)).inc()
        built = responses.response(answered, headers=self._headers)
        refused = built.overall_code == rls_pb2.RateLimitResponse.OVER_LIMIT
        self._metrics.requests.labels("over_limit" if refused else "ok").inc()
        return built


async def start(service: RateLimitService, place: HostPort) -> tuple[Any, HostPort]:
    """Serve at ``place``; return the server and where it listens.

    Raises:
        PortTakenError: the address cannot be had.

    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CALLS)
    handler = grpc.unary_unary_rpc_method_handler(
        service.should_rate_limit,
        request_deserializer=rls_pb2.RateLimitRequest.FromString,
        response_serializer=rls_pb2.RateLimitResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": handler}),)
    )
    try:
        port = server.add_insecure_port(str(place))
    except RuntimeError as error:
        reason = "it is taken, or not this host's"
        raise PortTakenError("the rate limit service", str(place), reason) from error
    await server.start()
    return server, HostPort(place.host, port)


def _verdict(answered: responses.Answered | None) -> str:
    if answered is None:
        return "unlimited"
    return "ok" if answered[1].allowed else "over_limit"
