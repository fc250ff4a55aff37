"""MeshCircuitBreaker: how much load is let through, and which instances are left out.

Limits hold for each proxy and destination; beyond them a call fails at once.  Outlier detection
leaves out an instance that keeps failing.  A detector that a document names is on, and what the
document leaves unsaid about it is Kuma's default: ``CONSECUTIVE``, ``HOSTS``, ``VOLUME``,
``DEVIATION``, ``THRESHOLD``; ``BASE_EJECTION`` (seconds) where only the longest time is known.

Source: Kuma's MeshCircuitBreaker; Envoy's documentation of circuit breaking and of outlier
detection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from mesh.model.destinations import Detectors, Limits, Outlier, Settings
from mesh.model.inbound import InboundTraffic
from mesh.model.services import Protocol
from mesh.policies.defaults import MIN_RETRIES, RETRY_BUDGET
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import Strict, given
from mesh.policies.spec import ToAndRulesSpec
from mesh.policies.units import Count, PositiveDuration

CONSECUTIVE: Final = 5
HOSTS: Final = 5
VOLUME: Final = 10
DEVIATION: Final = 1.9
THRESHOLD: Final = 85
BASE_EJECTION: Final = 30.0

T = TypeVar("T")

Amount = Annotated[int, Field(ge=0, le=2**31 - 1)]
WholePercent = Annotated[int, Field(ge=0, le=100)]


class ConnectionLimits(Strict):
    """How much may be under way at a time, per proxy and destination."""

    max_connections: Count | None = None
    """TCP connections."""
    max_pending_requests: Count | None = None
    """Requests that wait for a connection."""
    max_requests: Count | None = None
    """Requests under way."""
    max_retries: Amount | None = None
    """Retries under way; a budget of MeshRetry takes its place."""
    max_requests_per_connection: Amount | None = None
    """Requests after which a connection is closed; 0 is never."""


class Detector(Strict):
    """What every detector has."""

    disabled: bool | None = None
    """Switches this detector off."""


class Consecutive(Detector):
    """Failures in a row."""

    consecutive: Count | None = None
    """So many leave an instance out."""


class Statistical(Detector):
    """What is told from many requests."""

    minimum_hosts: Count | None = None
    """So many instances must have had enough requests."""
    request_volume: Count | None = None
    """So many requests within an interval are enough."""


class SuccessRate(Statistical):
    """An instance that succeeds far less often than the others do."""

    standard_deviation_factor: Annotated[float, Field(gt=0, le=1000)] | None = None
    """So many standard deviations below the mean are far."""


class FailurePercentage(Statistical):
    """An instance that fails too often, whatever the others do."""

    threshold: Annotated[int, Field(ge=1, le=100)] | None = None
    """Percent of its requests."""


class DetectorsConf(Strict):
    """What tells that an instance fails."""

    total_failures: Consecutive | None = None
    """Answers 5xx, and connections that fail (unless these are split off)."""
    gateway_failures: Consecutive | None = None
    """Answers 502, 503 and 504."""
    local_origin_failures: Consecutive | None = None
    """Connections that fail or time out; needs `splitExternalAndLocalErrors`."""
    success_rate: SuccessRate | None = None
    """By comparison with the other instances."""
    failure_percentage: FailurePercentage | None = None
    """By a fixed threshold."""


class OutlierDetection(Strict):
    """When an instance is left out, and for how long."""

    disabled: bool | None = None
    """Switches outlier detection off."""
    interval: PositiveDuration | None = None
    """How often it is decided who is left out and who returns."""
    base_ejection_time: PositiveDuration | None = None
    """How long an instance is left out, times how often it was."""
    max_ejection_time: PositiveDuration | None = None
    """The longest that an instance is left out."""
    max_ejection_percent: WholePercent | None = None
    """How many of the instances may be left out at a time; one always may."""
    split_external_and_local_errors: bool | None = None
    """Whether failed connections are told from answers that are failures."""
    detectors: DetectorsConf | None = None
    """What tells that an instance fails."""


class CircuitBreaker(Strict):
    """The ``default`` of MeshCircuitBreaker."""

    connection_limits: ConnectionLimits | None = None
    """How much may be under way at a time."""
    outlier_detection: OutlierDetection | None = None
    """When an instance is left out; in `to` only."""


CircuitBreakerSpec = ToAndRulesSpec[CircuitBreaker]


def _on_target(conf: CircuitBreaker, settings: Settings, _: Protocol) -> Settings:
    if conf.connection_limits is not None:
        settings = replace(settings, limits=_limits(conf.connection_limits, settings.limits))
    if conf.outlier_detection is not None:
        settings = replace(settings, outlier=_outlier(conf.outlier_detection, settings.outlier))
    return settings


def _on_inbound(conf: CircuitBreaker, inbound: InboundTraffic, _: Protocol) -> InboundTraffic:
    if conf.connection_limits is None:
        return inbound
    return replace(inbound, limits=_limits(conf.connection_limits, inbound.limits))


def _limits(conf: ConnectionLimits, before: Limits | None) -> Limits:
    fields = given(
        connections=conf.max_connections,
        pending=conf.max_pending_requests,
        requests=conf.max_requests,
        retries=conf.max_retries,
        requests_per_connection=conf.max_requests_per_connection,
    )
    limits = replace(before or Limits(), **fields)
    budget = limits.retry_budget, limits.min_retries
    if conf.max_retries is not None and budget == (RETRY_BUDGET, MIN_RETRIES):
        # A budget of MeshRetry takes the number's place; that of the defaults gives way to it.
        return replace(limits, retry_budget=None, min_retries=None)
    return limits


def _outlier(conf: OutlierDetection, before: Outlier | None) -> Outlier | None:
    if conf.disabled:
        return None
    fields = given(
        interval=conf.interval,
        base_ejection=conf.base_ejection_time,
        max_ejection=conf.max_ejection_time,
        max_ejection_percent=conf.max_ejection_percent,
        split_local=conf.split_external_and_local_errors,
    )
    outlier = replace(before or Outlier(Detectors()), **fields)
    if conf.detectors is not None:
        outlier = replace(outlier, detectors=_detectors(conf.detectors, outlier.detectors))
    if outlier.detectors == Detectors():
        return None
    return _ordered(outlier)


def _ordered(outlier: Outlier) -> Outlier:
    """Bring the times in order, each of which another document may have said."""
    base, longest = outlier.base_ejection, outlier.max_ejection
    if longest is None:
        return outlier
    if base is None:
        return replace(outlier, base_ejection=min(BASE_EJECTION, longest))
    return replace(outlier, max_ejection=max(base, longest))


def _detectors(said: DetectorsConf, before: Detectors) -> Detectors:
    fields: dict[str, Any] = {
        "consecutive_5xx": _row(said.total_failures, before.consecutive_5xx),
        "consecutive_gateway": _row(said.gateway_failures, before.consecutive_gateway),
        "consecutive_local": _row(said.local_origin_failures, before.consecutive_local),
    }
    rate, percentage = said.success_rate, said.failure_percentage
    if rate is not None:
        on = not rate.disabled
        stdev = _first(rate.standard_deviation_factor, before.success_rate_stdev, DEVIATION)
        hosts = _first(rate.minimum_hosts, before.success_rate_hosts, HOSTS)
        volume = _first(rate.request_volume, before.success_rate_volume, VOLUME)
        fields["success_rate_stdev"] = stdev if on else None
        fields["success_rate_hosts"] = hosts if on else None
        fields["success_rate_volume"] = volume if on else None
    if percentage is not None:
        on = not percentage.disabled
        threshold = _first(percentage.threshold, before.failure_percent, THRESHOLD)
        hosts = _first(percentage.minimum_hosts, before.failure_percent_hosts, HOSTS)
        volume = _first(percentage.request_volume, before.failure_percent_volume, VOLUME)
        fields["failure_percent"] = threshold if on else None
        fields["failure_percent_hosts"] = hosts if on else None
        fields["failure_percent_volume"] = volume if on else None
    return replace(before, **fields)


def _row(said: Consecutive | None, before: int | None) -> int | None:
    if said is None:
        return before
    return None if said.disabled else _first(said.consecutive, before, CONSECUTIVE)


def _first(said: T | None, before: T | None, default: T) -> T:
    if said is not None:
        return said
    return default if before is None else before


def _check(spec: CircuitBreakerSpec) -> Violations:
    for index, to in enumerate(spec.to):
        said = to.default.outlier_detection
        if said is not None:
            yield from _check_outlier(f"to[{index}].default.outlierDetection", said)
    for index, rule in enumerate(spec.rules):
        if rule.default.outlier_detection is not None:
            yield f"rules[{index}].default.outlierDetection", "applies in `to` only"
        if rule.matches:
            wrong = "connectionLimits hold for all calls: give them in a rule without matches"
            yield f"rules[{index}].matches", wrong


def _check_outlier(place: str, said: OutlierDetection) -> Violations:
    base, longest = said.base_ejection_time, said.max_ejection_time
    if base is not None and longest is not None and base > longest:
        yield place, "baseEjectionTime is longer than maxEjectionTime"
    local = said.detectors.local_origin_failures if said.detectors else None
    if local and not local.disabled and said.split_external_and_local_errors is False:
        wrong = "needs splitExternalAndLocalErrors"
        yield f"{place}.detectors.localOriginFailures", wrong


KIND: Final = Kind(
    name="MeshCircuitBreaker",
    summary="How much load is let through at a time, and when a failing instance is left out.",
    conf=CircuitBreaker,
    spec=CircuitBreakerSpec,
    on_target=_on_target,
    on_inbound=_on_inbound,
    check=_check,
    example="""\
type: MeshCircuitBreaker
name: api-breaker
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      default:
        connectionLimits:
          maxConnections: 200
          maxPendingRequests: 50
          maxRequests: 400
        outlierDetection:
          interval: 5s
          baseEjectionTime: 30s
          maxEjectionPercent: 50
          splitExternalAndLocalErrors: true
          detectors:
            gatewayFailures: {consecutive: 5}
            localOriginFailures: {consecutive: 3}
            successRate: {minimumHosts: 5, requestVolume: 100, standardDeviationFactor: 1.9}
""",
)
