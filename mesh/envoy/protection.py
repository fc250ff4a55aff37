"""What keeps a caller from hurting an upstream, and an upstream from hurting its callers.

Limits are Envoy's circuit breakers: what goes beyond them is refused at the caller.  Outlier
detection leaves out an instance that fails on real requests.
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.cluster.v3 import outlier_detection_pb2

from mesh.envoy.proto import duration
from mesh.model.destinations import Detectors, Limits, Outlier

_ON: Final = 100
_OFF: Final = 0
_THOUSANDTHS: Final = 1000


def limit(cluster: Any, limits: Limits) -> None:
    """Put the thresholds of ``limits`` into ``cluster``; unsaid ones add nothing."""
    found = {
        "max_connections": limits.connections,
        "max_pending_requests": limits.pending,
        "max_requests": limits.requests,
        "max_retries": limits.retries,
    }
    said = {name: value for name, value in found.items() if value is not None}
    has_budget = limits.retry_budget is not None or limits.min_retries is not None
    if not said and not has_budget:
        return
    thresholds = cluster.circuit_breakers.thresholds.add()
    for name, value in said.items():
        getattr(thresholds, name).value = value
    if limits.retry_budget is not None:
        thresholds.retry_budget.budget_percent.value = limits.retry_budget
    if limits.min_retries is not None:
        thresholds.retry_budget.min_retry_concurrency.value = limits.min_retries


def outlier_detection(outlier: Outlier) -> Any:
    """Return the OutlierDetection of ``outlier``: a detector acts if it was said, and only then.

    Envoy's own defaults are a mixture: some detectors act unless they are told not to, some
    only count unless they are told to act.
    """
    result = outlier_detection_pb2.OutlierDetection()
    for name, seconds in (
        ("interval", outlier.interval),
        ("base_ejection_time", outlier.base_ejection),
        ("max_ejection_time", outlier.max_ejection),
    ):
        if seconds is not None:
            getattr(result, name).CopyFrom(duration(seconds))
    if outlier.max_ejection_percent is not None:
        result.max_ejection_percent.value = outlier.max_ejection_percent
    # One of three instances is more than Envoy's 10%, and would never be left out.
    if outlier.max_ejection_percent != 0:
        result.always_eject_one_host.value = True
    # Without the split Envoy never asks the detector of local failures.
    local = outlier.detectors.consecutive_local is not None
    result.split_external_local_origin_errors = outlier.split_local or local
    _detectors(result, outlier.detectors)
    return result


def _detectors(result: Any, of: Detectors) -> None:
    _consecutive(result, "5xx", of.consecutive_5xx)
    if of.consecutive_5xx is not None:
        _said(result.enforcing_consecutive_5xx, of.consecutive_5xx_enforced)
    _consecutive(result, "gateway_failure", of.consecutive_gateway)
    _consecutive(result, "local_origin_failure", of.consecutive_local)

    enforced = _OFF if of.success_rate_stdev is None else _ON
    result.enforcing_success_rate.value = enforced
    result.enforcing_local_origin_success_rate.value = enforced
    if of.success_rate_stdev is not None:
        result.success_rate_stdev_factor.value = round(of.success_rate_stdev * _THOUSANDTHS)
        _said(result.success_rate_minimum_hosts, of.success_rate_hosts)
        _said(result.success_rate_request_volume, of.success_rate_volume)

    enforced = _OFF if of.failure_percent is None else _ON
    result.enforcing_failure_percentage.value = enforced
    result.enforcing_failure_percentage_local_origin.value = enforced
    if of.failure_percent is not None:
        result.failure_percentage_threshold.value = of.failure_percent
        _said(result.failure_percentage_minimum_hosts, of.failure_percent_hosts)
        _said(result.failure_percentage_request_volume, of.failure_percent_volume)


def _consecutive(result: Any, what: str, threshold: int | None) -> None:
    getattr(result, f"enforcing_consecutive_{what}").value = _OFF if threshold is None else _ON
    _said(getattr(result, f"consecutive_{what}"), threshold)


def _said(wrapper: Any, value: int | None) -> None:
    if value is not None:
        wrapper.value = value
