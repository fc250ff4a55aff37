"""What holds without any policy: every default of the mesh, in one table.

The values are chosen so that a call fails fast, is repeated only where it cannot have had an
effect, and avoids an instance that keeps failing.  Whatever is not here is Envoy's own default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mesh.model.destinations import Detectors, Limits, Outlier, Settings
from mesh.model.passthrough import Passthrough, PassthroughMode
from mesh.model.requests import Timeouts
from mesh.model.services import Protocol
from mesh.model.traffic import Retry, Route

CONNECT_TIMEOUT: Final = 5.0
"""Seconds; Consul's own."""
REQUEST_TIMEOUT: Final = 15.0
"""Seconds; not for gRPC, whose calls bring deadlines of their own and may stream for hours."""
SAFE_RETRIES: Final = ("connect-failure", "refused-stream", "reset-before-request")
"""Conditions under which the request has not reached the application."""
RETRY_ATTEMPTS: Final = 2
RETRY_BUDGET: Final = 20.0
"""Percent of the active requests."""
MIN_RETRIES: Final = 10
CONSECUTIVE_FAILURES: Final = 5
BASE_EJECTION: Final = 10.0
MAX_EJECTION_PERCENT: Final = 50

RETRY: Final = Retry(attempts=RETRY_ATTEMPTS, on=SAFE_RETRIES)
# Local failures are not split off: they count as gateway errors then.  Counted by themselves, a
# proxy that answers for an application that is gone would never be left out, as each handshake
# with it is a success.
OUTLIER: Final = Outlier(
    detectors=Detectors(consecutive_gateway=CONSECUTIVE_FAILURES),
    base_ejection=BASE_EJECTION,
    max_ejection_percent=MAX_EJECTION_PERCENT,
)
SETTINGS: Final = Settings(
    connect_timeout=CONNECT_TIMEOUT,
    limits=Limits(retry_budget=RETRY_BUDGET, min_retries=MIN_RETRIES),
    outlier=OUTLIER,
)


OUTLIER_FAILING_OVER: Final = replace(OUTLIER, max_ejection_percent=100, max_ejection=BASE_EJECTION)
LIMITS_FAILING_OVER: Final = Limits(retries=1024)
# Not by a share of the active requests: those that wait for one connection attempt fail together,
# and once they have, none is active.
CONNECT_TIMEOUT_FAILING_OVER: Final = 2.0
"""Seconds."""
CONNECT_ATTEMPTS_FAILING_OVER: Final = 3
"""Of a TCP connection; for HTTP there are retries."""

PASSTHROUGH: Final = Passthrough(PassthroughMode.ALL)
"""Capturing is turned on for a proxy whose application already calls whom it needs, and must not
break it: a database that nobody named, or the cloud's own metadata.  Services of the mesh do not
turn on it: they admit only whom an intention allows, by certificate.  One MeshPassthrough without
``targetRef`` closes the whole mesh."""


def failing_over(settings: Settings) -> Settings:
    """Return ``settings`` where there is somebody else to turn to, or another zone to call.

    Every instance may be left out there: what protects the rest where nobody else is would keep
    the last failing one, and its calls, for as long as the registry believes in it.  A link
    between zones fails silently: whoever does not answer soon is given up, and every call that
    has reached nobody may be made again.  What was said by entries or policies stands.
    """
    if settings.outlier is OUTLIER:
        settings = replace(settings, outlier=OUTLIER_FAILING_OVER)
    if settings.limits is SETTINGS.limits:
        settings = replace(settings, limits=LIMITS_FAILING_OVER)
    if "connect_timeout" not in settings.origins and settings.connect_timeout == CONNECT_TIMEOUT:
        settings = replace(settings, connect_timeout=CONNECT_TIMEOUT_FAILING_OVER)
    if settings.connect_attempts is None:
        settings = replace(settings, connect_attempts=CONNECT_ATTEMPTS_FAILING_OVER)
    return settings


@dataclass(frozen=True, slots=True)
class Default:
    """One row of the table; ``policy`` is the field that changes it."""

    setting: str
    value: str
    why: str
    policy: str


def on_route(route: Route, protocol: Protocol) -> Route:
    """Fill in what nobody said about ``route``."""
    if not protocol.is_http:
        return route
    timeouts = route.timeouts
    if timeouts.request is None:
        request = 0.0 if protocol is Protocol.GRPC else REQUEST_TIMEOUT
        timeouts = Timeouts(request, timeouts.idle)
    return replace(route, timeouts=timeouts, retry=RETRY if route.retry is None else route.retry)


DEFAULTS: Final = (
    Default(
        "Connect timeout",
        "5 s; 2 s where calls can fail over, or go to another zone",
        "Consul's own; TLS included. A link between zones fails silently",
        "MeshTimeout `to[].default.connectionTimeout`",
    ),
    Default(
        "Request timeout",
        "15 s (http, http2); none (grpc)",
        "A call that takes longer is a fault; gRPC calls bring deadlines and may stream",
        "MeshTimeout `to[].default.http.requestTimeout`",
    ),
    Default(
        "Retries",
        "2, on connect-failure, refused-stream, reset-before-request",
        "Only where the request has not reached the application: safe for every method",
        "MeshRetry `to[].default.http.numRetries`, `retryOn`",
    ),
    Default(
        "Timeout of one try",
        "none of its own",
        "A try that has not reached the application ends with the connect timeout, well below "
        "the request timeout",
        "MeshRetry `to[].default.http.perTryTimeout`",
    ),
    Default(
        "Retry budget",
        "20 % of the active requests, at least 10; 1024 at a time where calls can fail over",
        "Retries must not multiply an overload; ten at a time let a quiet caller's calls outlive "
        "an instance",
        "MeshRetry `to[].default.http.budget`",
    ),
    Default(
        "Outlier detection",
        "5 consecutive gateway errors (502, 503, 504) or local failures (connect, reset, "
        "timeout); out for 10 s times the number of ejections; at most 50 % of the instances. "
        "Where calls can fail over, or go to another zone: 10 s each time, and all of them",
        "An instance that keeps failing is left out before its health check notices",
        "MeshCircuitBreaker `to[].default.outlierDetection`",
    ),
    Default(
        "Connection limits",
        "1024 connections, 1024 waiting requests, 1024 requests at a time, per proxy and service",
        "Envoy's own: one slow upstream must not take all memory",
        "MeshCircuitBreaker `to[].default.connectionLimits`",
    ),
    Default(
        "Load balancing",
        "least request (of two)",
        "Slow instances get less",
        "MeshLoadBalancingStrategy `to[].default.loadBalancer`",
    ),
    Default(
        "Health checks by proxies",
        "none",
        "Consul's checks count; outlier detection sees the rest",
        "MeshHealthCheck",
    ),
    Default(
        "Idle timeout of connections",
        "1 h (http pools); none (tcp)",
        "Envoy's own; a database connection may rest",
        "MeshTimeout `to[].default.idleTimeout`",
    ),
    Default(
        "TLS at the callee",
        "strict",
        "A caller without a certificate is refused",
        "MeshTLS `rules[].default.mode`",
    ),
    Default(
        "Captured connections to hosts outside the mesh",
        "all pass",
        "Capturing must not break an application before anybody has said whom it may call; "
        "services of the mesh admit by certificate and intention in any case",
        "MeshPassthrough `default.passthroughMode`",
    ),
    Default(
        "Rate limits, faults, external authorization, end users' tokens",
        "none",
        "No filter stands that no policy asked for",
        "MeshRateLimit, MeshFaultInjection, MeshExternalAuthorization, MeshRequestAuthentication",
    ),
)
