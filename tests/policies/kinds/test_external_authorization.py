"""MeshExternalAuthorization: who is asked, how, and who is not asked about."""

from __future__ import annotations

from dataclasses import replace

from mesh.model.inbound import PLAIN_INBOUND, ExternalAuthorization, FailureMode
from mesh.model.services import Protocol
from mesh.policies.kinds.external_authorization import KIND
from tests.policies.kinds.reading import rule, violations

ASKING = replace(PLAIN_INBOUND, authorization=ExternalAuthorization("before"))


def _authorization(
    default: str, protocol: Protocol = Protocol.HTTP
) -> ExternalAuthorization | None:
    assert KIND.on_inbound_route is not None
    return KIND.on_inbound_route(rule(KIND, default), ASKING, protocol).authorization


def test_a_grpc_service_with_the_defaults() -> None:
    assert _authorization("{service: opa}") == ExternalAuthorization("opa")


def test_an_http_service_with_everything_said() -> None:
    found = _authorization(
        "{service: opa, protocol: http, pathPrefix: /check, requestHeaders: [X-Tenant],"
        " upstreamHeaders: [X-User], timeout: 1s, failureMode: Open, maxRequestBytes: 10}"
    )
    assert found == ExternalAuthorization(
        "opa",
        Protocol.HTTP,
        path_prefix="/check",
        request_headers=("x-tenant",),
        upstream_headers=("x-user",),
        timeout=1.0,
        failure=FailureMode.OPEN,
        max_body=10,
    )


def test_an_exception_asks_nobody() -> None:
    assert _authorization("{disabled: true}") is None


def test_a_tcp_service_asks_nobody_new() -> None:
    assert _authorization("{service: opa}", Protocol.TCP) == ASKING.authorization


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        rules:
          - default: {}
          - default: {disabled: true, service: opa}
          - default: {disabled: false}
          - default: {service: opa, pathPrefix: /a, requestHeaders: [a]}
          - default: {service: a.b, protocol: tcp, pathPrefix: a, timeout: 0s, failureMode: x}
          - default: {service: opa, protocol: http, upstreamHeaders: ["a b"], maxRequestBytes: 0}
        """,
    )
    last = "spec.rules[5].default"
    assert set(found) == {
        "spec.rules[0].default",
        "spec.rules[1].default",
        "spec.rules[2].default.disabled",
        "spec.rules[3].default",
        "spec.rules[4].default.service",
        "spec.rules[4].default.protocol",
        "spec.rules[4].default.pathPrefix",
        "spec.rules[4].default.timeout",
        "spec.rules[4].default.failureMode",
        f"{last}.upstreamHeaders[0]",
        f"{last}.maxRequestBytes",
    }
    assert found["spec.rules[3].default"] == (
        "takes pathPrefix, requestHeaders only with protocol http"
    )
