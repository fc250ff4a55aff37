"""MeshCircuitBreaker: limits of either side, and every detector."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.model.destinations import Detectors, Limits, Outlier, Settings
from mesh.model.inbound import InboundTraffic
from mesh.model.services import Protocol
from mesh.policies import defaults
from mesh.policies.kinds.circuit_breaker import KIND
from tests.policies.kinds import documents, reading


def _settings(*said: str, before: Settings | None = None) -> Settings:
    assert KIND.on_target is not None
    conf = documents.conf_of(KIND, *said)
    return KIND.on_target(conf, before or Settings(), Protocol.HTTP)


def _outlier(*said: str, before: Outlier | None = None) -> Outlier | None:
    written = (f"{{outlierDetection: {each}}}" for each in said)
    return _settings(*written, before=Settings(outlier=before)).outlier


def test_every_limit() -> None:
    found = _settings("""
        connectionLimits:
          maxConnections: 1
          maxPendingRequests: 2
          maxRequests: 3
          maxRetries: 0
          maxRequestsPerConnection: 5
        """)

    assert found == Settings(
        limits=Limits(connections=1, pending=2, requests=3, retries=0, requests_per_connection=5)
    )


def test_limits_leave_the_retry_budget_alone() -> None:
    found = _settings("{connectionLimits: {maxConnections: 7}}", before=defaults.SETTINGS)

    assert found == replace(
        defaults.SETTINGS,
        limits=Limits(
            connections=7, retry_budget=defaults.RETRY_BUDGET, min_retries=defaults.MIN_RETRIES
        ),
    )


def test_every_detector() -> None:
    found = _outlier("""{
        interval: 5s, baseEjectionTime: 30s, maxEjectionTime: 5m, maxEjectionPercent: 40,
        splitExternalAndLocalErrors: true,
        detectors: {
          totalFailures: {consecutive: 1},
          gatewayFailures: {consecutive: 2},
          localOriginFailures: {consecutive: 3},
          successRate: {minimumHosts: 4, requestVolume: 5, standardDeviationFactor: 1.5},
          failurePercentage: {minimumHosts: 6, requestVolume: 7, threshold: 80}}}
        """)

    assert found == Outlier(
        Detectors(
            consecutive_5xx=1,
            consecutive_gateway=2,
            consecutive_local=3,
            success_rate_stdev=1.5,
            success_rate_hosts=4,
            success_rate_volume=5,
            failure_percent=80,
            failure_percent_hosts=6,
            failure_percent_volume=7,
        ),
        interval=5.0,
        base_ejection=30.0,
        max_ejection=300.0,
        max_ejection_percent=40,
        split_local=True,
    )


def test_a_detector_that_is_named_is_on() -> None:
    found = _outlier(
        "{detectors: {totalFailures: {}, gatewayFailures: {}, localOriginFailures: {},"
        " successRate: {}, failurePercentage: {}}}"
    )

    assert found == Outlier(
        Detectors(
            consecutive_5xx=5,
            consecutive_gateway=5,
            consecutive_local=5,
            success_rate_stdev=1.9,
            success_rate_hosts=5,
            success_rate_volume=10,
            failure_percent=85,
            failure_percent_hosts=5,
            failure_percent_volume=10,
        )
    )


def test_a_detector_can_be_switched_off_alone() -> None:
    found = _outlier(
        "{detectors: {successRate: {disabled: true}, failurePercentage: {disabled: true},"
        " gatewayFailures: {disabled: true}}}",
        before=Outlier(Detectors(5, 5, 5, 1.9, 5, 10, 85, 5, 10)),
    )

    assert found == Outlier(Detectors(consecutive_5xx=5, consecutive_local=5))


def test_what_is_unsaid_stays() -> None:
    found = _outlier("{detectors: {totalFailures: {consecutive: 9}}}", before=defaults.OUTLIER)

    detectors = replace(defaults.OUTLIER.detectors, consecutive_5xx=9)
    assert found == replace(defaults.OUTLIER, detectors=detectors)


@pytest.mark.parametrize(
    "said",
    [
        "{disabled: true, detectors: {totalFailures: {}}}",
        "{detectors: {gatewayFailures: {disabled: true}, localOriginFailures: {disabled: true}}}",
    ],
)
def test_without_a_detector_nobody_is_left_out(said: str) -> None:
    assert _outlier(said, before=defaults.OUTLIER) is None


def test_a_specific_document_can_switch_it_on_again() -> None:
    found = _outlier("{disabled: true}", "{disabled: false}", before=defaults.OUTLIER)

    assert found == defaults.OUTLIER


def test_the_longest_time_is_never_shorter_than_the_first() -> None:
    found = _outlier("{maxEjectionTime: 20s}", "{baseEjectionTime: 1m}", before=defaults.OUTLIER)

    assert found is not None
    assert (found.base_ejection, found.max_ejection) == (60.0, 60.0)


def test_the_longest_time_alone_is_no_shorter_than_the_first_that_it_implies() -> None:
    found = _outlier("{maxEjectionTime: 20s}", before=Outlier(Detectors(consecutive_5xx=1)))

    assert found is not None
    assert (found.base_ejection, found.max_ejection) == (20.0, 20.0)


def test_the_callee_limits_what_comes_in() -> None:
    conf = reading.rule(KIND, "{connectionLimits: {maxConnections: 9}}")
    assert KIND.on_inbound is not None
    before = InboundTraffic(limits=Limits(pending=3))

    assert KIND.on_inbound(conf, before, Protocol.TCP) == InboundTraffic(
        limits=Limits(connections=9, pending=3)
    )


def test_everything_wrong_with_the_fields_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: Mesh}
            default:
              connectionLimits: {maxConnections: 0, maxRetries: -1, maxPools: 1}
              outlierDetection:
                interval: 0s
                maxEjectionPercent: 101
                detectors:
                  totalFailures: {consecutive: 0}
                  successRate: {standardDeviationFactor: 0}
                  failurePercentage: {threshold: 0.5}
        """,
    )
    limits = "spec.to[0].default.connectionLimits"
    outlier = "spec.to[0].default.outlierDetection"

    assert set(found) == {
        f"{limits}.maxConnections",
        f"{limits}.maxRetries",
        f"{limits}.maxPools",
        f"{outlier}.interval",
        f"{outlier}.maxEjectionPercent",
        f"{outlier}.detectors.totalFailures.consecutive",
        f"{outlier}.detectors.successRate.standardDeviationFactor",
        f"{outlier}.detectors.failurePercentage.threshold",
    }


def test_everything_that_does_not_go_together_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: Mesh}
            default:
              outlierDetection:
                baseEjectionTime: 10m
                maxEjectionTime: 1m
                splitExternalAndLocalErrors: false
                detectors: {localOriginFailures: {}}
        rules:
          - matches: [{method: GET}]
            default: {outlierDetection: {disabled: true}}
        """,
    )
    outlier = "spec.to[0].default.outlierDetection"

    assert set(found) == {
        outlier,
        f"{outlier}.detectors.localOriginFailures",
        "spec.rules[0].default.outlierDetection",
        "spec.rules[0].matches",
    }
