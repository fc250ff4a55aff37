"""Who decides about a request at the callee's real Envoy: tokens, services that are asked."""

from __future__ import annotations

import pytest
from envoy.type.v3 import ratelimit_unit_pb2

from tests.envoy.bed import Bed, Issuer
from tests.envoy.callee import DOMAIN

pytestmark = pytest.mark.e2e


def test_token_is_required(bed: Bed) -> None:
    stranger = Issuer("okta").token()
    assert bed.callee.ask("tokens", "/required").status == 401
    assert bed.callee.ask("tokens", "/required", stranger).status == 401
    for issuer in (bed.okta, bed.corp):
        found = bed.callee.ask("tokens", "/required", issuer.token())
        assert found.status == 200
        assert "authorization" in found.seen()


def test_token_is_optional_but_must_be_valid(bed: Bed) -> None:
    assert bed.callee.ask("tokens", "/optional").status == 200
    assert bed.callee.ask("tokens", "/optional", bed.okta.token()).status == 200
    assert bed.callee.ask("tokens", "/optional", Issuer("okta").token()).status == 401
    assert bed.callee.ask("tokens", "/optional", bed.corp.token()).status == 401


def test_token_must_have_the_claims(bed: Bed) -> None:
    assert bed.callee.ask("tokens", "/claims").status == 401
    lacking = bed.callee.ask("tokens", "/claims", bed.okta.token(perms={"role": "user"}))
    assert (lacking.status, lacking.body) == (403, b"claims are lacking\n")
    for issuer in (bed.okta, bed.corp):
        token = issuer.token(perms={"role": ["user", "admin"]})
        assert bed.callee.ask("tokens", "/claims", token).status == 200


def test_claims_of_an_optional_token(bed: Bed) -> None:
    assert bed.callee.ask("tokens", "/both").status == 200
    assert bed.callee.ask("tokens", "/both", bed.okta.token(team="a")).status == 200
    assert bed.callee.ask("tokens", "/both", bed.okta.token(team="b")).status == 403


def test_token_of_an_undefined_provider_is_never_valid(bed: Bed) -> None:
    assert bed.callee.ask("tokens", "/unknown").status == 403
    assert bed.callee.ask("tokens", "/unknown", bed.okta.token()).status == 403
    assert bed.callee.ask("tokens", "/free").status == 200


def test_external_authorization_over_grpc(bed: Bed) -> None:
    denied = bed.callee.ask("authorized", "/grpc", body=b"0123456789")
    assert (denied.status, denied.body) == (403, b"not you\n")
    [request] = bed.authorizer.asked
    assert request.attributes.source.principal.endswith("/svc/web")
    assert request.attributes.request.http.body == "01234"
    allowed = bed.callee.ask("authorized", "/grpc", {"x-pass": "yes"})
    assert allowed.status == 200
    assert allowed.seen()["x-user"] == "joe"
    asked = len(bed.authorizer.asked)
    assert bed.callee.ask("authorized", "/free").status == 200
    assert len(bed.authorizer.asked) == asked


def test_external_authorization_over_http(bed: Bed) -> None:
    denied = bed.callee.ask("authorized", "/http")
    assert (denied.status, denied.body) == (401, b"who are you?\n")
    assert denied.headers["x-why"] == "no pass"
    seen = bed.callee.ask("authorized", "/http", {"x-pass": "yes"}).seen()
    assert seen["x-user"] == "joe"
    assert "x-secret" not in seen


def test_external_authorization_is_gone(bed: Bed) -> None:
    assert bed.callee.ask("authorized", "/open").status == 200
    assert bed.callee.ask("authorized", "/closed").status == 503


def test_global_limit_carries_itself(bed: Bed) -> None:
    assert bed.statuses("global", "/two", 3) == [200, 200, 429]
    request = bed.limiter.asked[-1]
    assert request.domain == "api"
    [descriptor] = request.descriptors
    assert [(entry.key, entry.value) for entry in descriptor.entries] == [("policy", "p")]
    assert descriptor.limit.requests_per_unit == 2
    assert ratelimit_unit_pb2.RateLimitUnit.Name(descriptor.limit.unit) == "HOUR"


def test_global_limit_by_a_header(bed: Bed) -> None:
    for user in ("ann", "bob"):
        found = bed.statuses("global", "/user", 2, headers={"x-user": user})
        assert found == [200, 429]
    # Whoever has no such header does not escape.
    assert bed.statuses("global", "/user", 2) == [200, 429]
    [descriptor] = bed.limiter.asked[-1].descriptors
    assert descriptor.entries[1].value == "-"


def test_global_limits_by_formatted_values(bed: Bed) -> None:
    assert bed.statuses("global", "/text", 1) == [200]
    [descriptor] = bed.limiter.asked[-1].descriptors
    values = [entry.value for entry in descriptor.entries]
    assert values == ["p", "at /text", f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"]
    assert bed.statuses("global", "/text", 1, headers={"x-other": "there"}) == [200]
    _, second = bed.limiter.asked[-1].descriptors
    assert second.entries[1].value == "there"
    assert second.limit.requests_per_unit == 7


def test_rate_limit_service_is_gone(bed: Bed) -> None:
    assert bed.callee.ask("global", "/gone/open").status == 200
    assert bed.callee.ask("global", "/gone/closed").status == 503


def test_routes_without_limits_ask_nobody(bed: Bed) -> None:
    asked = len(bed.limiter.asked)
    assert bed.statuses("global", "/free", 2) == [200, 200]
    assert len(bed.limiter.asked) == asked


def test_token_is_read_again_behind_the_intentions(bed: Bed) -> None:
    assert bed.callee.ask("behind").status == 401
    assert bed.callee.ask("behind", headers=bed.okta.token()).status == 200
