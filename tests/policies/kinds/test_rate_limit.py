"""MeshRateLimit: buckets, descriptors, and counters that nobody shares by accident."""

from __future__ import annotations

from typing import Any

from mesh.model.inbound import (
    OPEN_INBOUND,
    PLAIN_INBOUND,
    FailureMode,
    GlobalLimit,
    LocalLimit,
    TokenBucket,
)
from mesh.model.requests import HeaderEdits
from mesh.model.services import Protocol
from mesh.policies.kinds.rate_limit import KIND
from tests.policies.kinds.reading import document, rule, violations

_GLOBAL = "{service: ratelimit, requests: 5, unit: Hour%s}"


def _route(default: str, protocol: Protocol = Protocol.HTTP) -> Any:
    assert KIND.on_inbound_route is not None
    return KIND.on_inbound_route(rule(KIND, default), PLAIN_INBOUND, protocol)


def _descriptor(name: str, mesh: str, spec: str, index: int = 0) -> tuple[tuple[str, str], ...]:
    spec_read: Any = document(KIND, spec, name=name, mesh=mesh).spec
    limit: GlobalLimit = spec_read.rules[index].default.global_.form()
    return limit.descriptor


def test_a_local_limit_is_a_bucket() -> None:
    route = _route("{local: {http: {requestRate: {num: 10, interval: 2s}}}}")
    assert route.limit == LocalLimit(TokenBucket(10, 2.0), rule="default/one/0")


def test_a_local_limit_says_how_it_answers() -> None:
    route = _route(
        "{local: {http: {requestRate: {num: 10, interval: 1s}, burst: 30, perCaller: true,"
        " onRateLimit: {status: 503, headers: {set: [{name: x-why, value: 100%}]}}}}}"
    )
    assert route.limit == LocalLimit(
        TokenBucket(10, 1.0, 30),
        per_caller=True,
        status=503,
        response_headers=HeaderEdits(set=(("x-why", "100%%"),)),
        rule="default/one/0",
    )


def test_connections_are_limited_for_the_service_as_a_whole() -> None:
    conf = rule(KIND, "{local: {tcp: {connectionRate: {num: 3, interval: 100ms}}}}")
    assert KIND.on_inbound is not None
    inbound = KIND.on_inbound(conf, OPEN_INBOUND, Protocol.TCP)
    assert inbound.connection_rate == TokenBucket(3, 0.1)


def test_requests_of_a_tcp_service_are_not_limited() -> None:
    route = _route(f"{{global: {_GLOBAL % ''}}}", Protocol.TCP)
    assert route is PLAIN_INBOUND


def test_a_global_limit_counts_by_what_it_names() -> None:
    by = ", by: [{header: X-User}, {caller: true}, {path: true}]"
    route = _route(f"{{global: {_GLOBAL % (by + ', failureMode: Open, timeout: 20ms')}}}")
    assert route.global_limits == (
        GlobalLimit(
            service="ratelimit",
            domain="mesh",
            descriptor=(
                ("policy", "default/one/0"),
                ("header.x-user", "%REQ(x-user)%"),
                ("caller", "%DOWNSTREAM_PEER_URI_SAN%"),
                ("path", "%PATH(NQ)%"),
            ),
            limit=5,
            unit="hour",
            failure=FailureMode.OPEN,
            timeout=0.02,
        ),
    )


def test_equal_global_limits_of_two_rules_policies_or_meshes_do_not_share_a_counter() -> None:
    spec = f"""
    rules:
      - matches: [{{path: {{type: Exact, value: /a}}}}]
        default: {{global: {_GLOBAL % ""}}}
      - default: {{global: {_GLOBAL % ""}}}
    """
    seen = {
        _descriptor("one", "default", spec, 0),
        _descriptor("one", "default", spec, 1),
        _descriptor("two", "default", spec),
        _descriptor("one", "other", spec),
    }
    assert len(seen) == 4


def test_a_given_name_shares_a_counter() -> None:
    spec = f"rules: [{{default: {{global: {_GLOBAL % ', name: users'}}}}}]"
    assert _descriptor("one", "default", spec) == (("policy", "users"),)
    assert _descriptor("two", "default", spec) == (("policy", "users"),)


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        rules:
          - matches: [{path: {type: Exact, value: nowhere}}]
            default:
              local:
                http:
                  requestRate: {num: 0, interval: 10ms}
                  onRateLimit: {status: 200, headers: {remove: [a]}}
          - default:
              local: {http: {requestRate: {num: 9, interval: 1s}, burst: 3}}
              global:
                requests: 5
                unit: Week
                by: [{header: "a)%"}, {}]
                name: a/b
          - default:
              global: {service: r, requests: 1, unit: Day, by: [{caller: true}, {caller: true}]}
          - default: {}
        """,
    )
    http = "spec.rules[0].default.local.http"
    shared = "spec.rules[1].default.global"
    assert set(found) == {
        "spec.rules[0].matches[0].path",
        f"{http}.requestRate.num",
        f"{http}.requestRate.interval",
        f"{http}.onRateLimit.status",
        f"{http}.onRateLimit.headers.remove",
        "spec.rules[1].default.local.http",
        f"{shared}.service",
        f"{shared}.unit",
        f"{shared}.by[0].header",
        f"{shared}.by[1]",
        f"{shared}.name",
        "spec.rules[2].default.global",
        "spec.rules[3].default",
    }
    assert found["spec.rules[2].default.global"] == "by names caller twice"


def test_a_connection_rate_cannot_depend_on_a_request() -> None:
    found = violations(
        KIND,
        """
        rules:
          - matches: [{method: GET}]
            default: {local: {tcp: {connectionRate: {num: 1, interval: 1s}}}}
        """,
    )
    assert found == {
        "spec.rules[0].default.local.tcp": (
            "concerns connections: give it in a rule without matches"
        )
    }
