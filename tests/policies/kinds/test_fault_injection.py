"""MeshFaultInjection: aborts, delays and bandwidth."""

from __future__ import annotations

import pytest

from mesh.model.inbound import PLAIN_INBOUND, Abort, Delay, Fault
from mesh.model.services import Protocol
from mesh.policies.kinds.fault_injection import KIND
from tests.policies.kinds.reading import rule, violations


def _fault(http: str, protocol: Protocol = Protocol.HTTP) -> Fault | None:
    assert KIND.on_inbound_route is not None
    conf = rule(KIND, f"{{http: {http}}}")
    return KIND.on_inbound_route(conf, PLAIN_INBOUND, protocol).fault


def test_every_fault_at_once() -> None:
    fault = _fault(
        "{abort: {httpStatus: 500, percentage: 1.5}, delay: {value: 1s, percentage: 20},"
        " responseBandwidth: {limit: 1mbps, percentage: 3}}"
    )
    assert fault == Fault(Abort(1.5, 500), Delay(20.0, 1.0), 122, 3.0)


def test_a_grpc_status() -> None:
    fault = _fault("{abort: {grpcStatus: 14, percentage: 100}}", Protocol.GRPC)
    assert fault == Fault(Abort(100.0, grpc_status=14))


def test_a_tcp_service_has_no_faults() -> None:
    assert _fault("{delay: {value: 1s, percentage: 1}}", Protocol.TCP) is None


@pytest.mark.parametrize(
    ("limit", "kib"), [("8kbps", 1), ("50kbps", 6), ("1.5mbps", 183), ("1Gbps", 122_070)]
)
def test_bandwidth_is_written_in_bits_and_given_in_kib(limit: str, kib: int) -> None:
    fault = _fault(f"{{responseBandwidth: {{limit: {limit}, percentage: 1}}}}")
    assert fault is not None
    assert fault.bandwidth == kib


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        rules:
          - default:
              http:
                abort: {httpStatus: 200, grpcStatus: 3, percentage: 1}
                delay: {value: 0s, percentage: 101}
                responseBandwidth: {limit: 1kbps, percentage: -1}
          - default: {http: {abort: {httpStatus: 99, percentage: "5"}}}
          - default: {http: {responseBandwidth: {limit: 1MB, percentage: 5}}}
          - default: {http: {}}
        """,
    )
    first, second = "spec.rules[0].default.http", "spec.rules[1].default.http"
    assert set(found) == {
        f"{first}.abort",
        f"{first}.delay.value",
        f"{first}.delay.percentage",
        f"{first}.responseBandwidth.limit",
        f"{first}.responseBandwidth.percentage",
        f"{second}.abort.httpStatus",
        f"{second}.abort.percentage",
        "spec.rules[2].default.http.responseBandwidth.limit",
        "spec.rules[3].default.http",
    }
