"""MeshRequestAuthentication: whose tokens, and what they must say."""

from __future__ import annotations

from mesh.model.inbound import PLAIN_INBOUND, TokenRule
from mesh.model.services import Protocol
from mesh.policies.kinds.request_authentication import KIND
from tests.policies.kinds.reading import rule, violations


def _token(default: str, protocol: Protocol = Protocol.HTTP) -> TokenRule | None:
    assert KIND.on_inbound_route is not None
    return KIND.on_inbound_route(rule(KIND, default), PLAIN_INBOUND, protocol).token


def test_claims_are_found_by_path() -> None:
    token = _token(
        "{providers: [a, b], claims: [{path: realm.role, value: admin},"
        " {path: ['https://example.com/team'], value: ops}]}"
    )
    assert token == TokenRule(
        ("a", "b"), ((("realm", "role"), "admin"), (("https://example.com/team",), "ops"))
    )


def test_a_token_may_be_optional() -> None:
    assert _token("{providers: [a], optional: true}") == TokenRule(("a",), optional=True)


def test_a_tcp_service_sees_no_token() -> None:
    assert _token("{providers: [a]}", Protocol.TCP) is None


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        rules:
          - default: {providers: []}
          - default:
              providers: [a]
              claims: [{path: a..b, value: x}, {path: 3, value: y}, {path: a}, {path: [], value: z}]
          - default: {providers: [a], optional: true, claims: [{path: a, value: x}]}
          - default: {providers: [a, a]}
          - default: {providers: [a], optional: "yes"}
        """,
    )
    claims = "spec.rules[1].default.claims"
    assert set(found) == {
        "spec.rules[0].default.providers",
        f"{claims}[0].path[1]",
        f"{claims}[1].path",
        f"{claims}[2].value",
        f"{claims}[3].path",
        "spec.rules[2].default",
        "spec.rules[3].default",
        "spec.rules[4].default.optional",
    }


def test_a_path_that_no_request_has_once_it_is_normalised_is_refused() -> None:
    found = violations(
        KIND,
        """
        rules:
          - matches:
              - path: {type: PathPrefix, value: //admin}
              - path: {type: Exact, value: /a/../%61dmin}
              - path: {type: PathPrefix, value: /admin/}
              - path: {type: Exact, value: /a%2Fb}
            default: {providers: [a]}
        """,
    )
    assert found == {
        "spec.rules[0].matches[0].path": (
            "no path is '//admin' once it is normalised: write '/admin'"
        ),
        "spec.rules[0].matches[1].path": (
            "no path is '/a/../%61dmin' once it is normalised: write '/admin'"
        ),
    }
