"""MeshHealthCheck: one choice of what is asked, and how often."""

from __future__ import annotations

import pytest

from mesh.model.destinations import Probe, ProbeKind, Settings
from mesh.model.requests import HeaderEdits
from mesh.model.services import Protocol
from mesh.policies.kinds.health_check import HEALTHY, INTERVAL, KIND, TIMEOUT, UNHEALTHY
from tests.policies.kinds import documents, reading


def _probe(*said: str, before: Probe | None = None) -> Probe | None:
    assert KIND.on_target is not None
    conf = documents.conf_of(KIND, *said)
    return KIND.on_target(conf, Settings(probe=before), Protocol.HTTP).probe


def test_all_that_can_be_said_of_http() -> None:
    found = _probe("""
        interval: 10s
        timeout: 500ms
        unhealthyThreshold: 3
        healthyThreshold: 2
        intervalJitterPercent: 10
        reuseConnection: false
        probe:
          type: Http
          path: /healthz?full=1
          host: api.internal
          expectedStatuses: [200, 204, 200]
          requestHeadersToAdd: {set: [{name: x-probe, value: "1"}]}
        """)

    assert found == Probe(
        ProbeKind.HTTP,
        interval=10.0,
        timeout=0.5,
        unhealthy=3,
        healthy=2,
        path="/healthz?full=1",
        host="api.internal",
        expected=(200, 204),
        request_headers=HeaderEdits(set=(("x-probe", "1"),)),
        reuse_connection=False,
        jitter_percent=10,
    )


@pytest.mark.parametrize(
    ("said", "kind", "service"),
    [
        ("{probe: {type: Grpc, serviceName: shop.Cart}}", ProbeKind.GRPC, "shop.Cart"),
        ("{probe: {type: Http}}", ProbeKind.HTTP, ""),
        ("{probe: {type: Tcp}}", ProbeKind.TCP, ""),
        ("{}", ProbeKind.TCP, ""),
    ],
)
def test_what_is_unsaid_is_kumas(said: str, kind: ProbeKind, service: str) -> None:
    expected = Probe(kind, INTERVAL, TIMEOUT, UNHEALTHY, HEALTHY, service=service)

    assert _probe(said) == expected


def test_what_was_said_before_stays() -> None:
    before = Probe(ProbeKind.HTTP, 1.0, 2.0, 3, 4, path="/before", jitter_percent=5)

    assert _probe("{timeout: 9s}", before=before) == Probe(
        ProbeKind.HTTP, 1.0, 9.0, 3, 4, path="/before", jitter_percent=5
    )


def test_the_specific_document_chooses_anew() -> None:
    found = _probe("{interval: 5s, probe: {type: Http, path: /general}}", "{probe: {type: Grpc}}")

    assert found == Probe(ProbeKind.GRPC, 5.0, TIMEOUT, UNHEALTHY, HEALTHY)


def test_the_same_choice_is_merged() -> None:
    found = _probe(
        "{probe: {type: Http, path: /general}}", "{probe: {type: Http, host: api.internal}}"
    )

    assert found is not None
    assert (found.path, found.host) == ("/general", "api.internal")


def test_it_can_be_switched_off_and_on() -> None:
    before = Probe(ProbeKind.TCP, 1.0, 1.0, 1, 1)

    assert _probe("{disabled: true}", before=before) is None
    assert _probe("{disabled: true}", "{disabled: false}", before=before) == before


def test_everything_wrong_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: Mesh}
            default:
              interval: 0s
              timeout: soon
              unhealthyThreshold: 0
              intervalJitterPercent: 200
              probe:
                type: Http
                path: healthz
                host: "a b"
                expectedStatuses: [99]
                serviceName: x
          - targetRef: {kind: MeshService, name: a}
            default: {probe: {type: Tcp, path: /}}
          - targetRef: {kind: MeshService, name: b}
            default: {probe: {path: /}}
          - targetRef: {kind: MeshService, name: c}
            default: {tcp: {}}
        """,
    )
    default = "spec.to[0].default"

    assert set(found) == {
        f"{default}.interval",
        f"{default}.timeout",
        f"{default}.unhealthyThreshold",
        f"{default}.intervalJitterPercent",
        f"{default}.probe.path",
        f"{default}.probe.host",
        f"{default}.probe.expectedStatuses[0]",
        f"{default}.probe.serviceName",
        "spec.to[1].default.probe.path",
        "spec.to[2].default.probe",
        "spec.to[3].default.tcp",
    }
