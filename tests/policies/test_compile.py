"""The filters that are compiled decide as the verdict does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mesh.envoy import jwt
from mesh.model.identity import WorkloadId
from mesh.model.intentions import (
    Action,
    Intention,
    JwtProvider,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions import Authorization, Call, Scope, authorize, judge
from mesh.policies.intentions.paths import normalise
from tests.policies.evaluator import Request, allows
from tests.policies.strategies import ISSUERS, grouped, l7_intentions, requests

_DOMAIN = "td.example"
_PROVIDERS = {name: JwtProvider(name, issuer, jwks="{}") for name, issuer in ISSUERS.items()}
_READS = Permission(Action.ALLOW, PathMatch(PathMatchKind.PREFIX, "/v1/"), ("GET",))


def _scope(
    protocol: Protocol,
    *,
    default_allow: bool = False,
    providers: dict[str, JwtProvider] | None = None,
) -> Scope:
    known = _PROVIDERS if providers is None else providers
    return Scope(_DOMAIN, protocol, default_allow, known, lambda provider: f"jwks:{provider.name}")


def _compiled(*intentions: Intention, protocol: Protocol = Protocol.HTTP) -> Authorization:
    return authorize(grouped(intentions), "api", _scope(protocol))


def _request(call: Call, zone: str = "dc1") -> Request:
    payloads = {
        f"jwt_payload_{provider}": {"iss": ISSUERS[provider], **claims}
        for provider, claims in call.claims.items()
    }
    target, question, query = call.path.partition("?")
    headers = {name.lower(): value for name, value in call.headers.items()}
    headers |= {":method": call.method, ":path": normalise(target) + question + query}
    return Request(WorkloadId(_DOMAIN, zone, call.source).uri, headers, {jwt.JWT_AUTHN: payloads})


@settings(max_examples=600, deadline=None)
@given(l7_intentions(), st.lists(requests, min_size=1, max_size=5), st.booleans())
def test_the_filters_decide_as_the_verdict_does(
    intentions: tuple[Intention, ...],
    calls: list[Call],
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    for call in calls:
        filters = authorize(held, "api", _scope(call.protocol, default_allow=default_allow))
        verdict = judge(held, call, default_allow=default_allow)
        assert (filters.network is None) is not (filters.http is None)
        chosen = filters.http if filters.network is None else filters.network
        assert allows(chosen.rules, _request(call)) is verdict.allowed, verdict
        event(f"{'http' if filters.http is not None else 'network'} {verdict.allowed}")


@settings(deadline=None)
@given(l7_intentions(), requests, st.booleans())
def test_the_network_filter_is_used_only_where_requests_do_not_differ(
    intentions: tuple[Intention, ...],
    call: Call,
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    filters = authorize(held, "api", _scope(call.protocol, default_allow=default_allow))
    connection = Call(call.source, "api", call.protocol)
    verdict = judge(held, connection, default_allow=default_allow)

    if filters.network is not None:
        assert not verdict.conditional
        assert filters.jwt is None
    assert call.protocol.is_http or filters.http is None


@pytest.mark.parametrize(
    "peer",
    [
        "spiffe://other.example/ns/default/dc/dc1/svc/web",
        "spiffe://tdxexample/ns/default/dc/dc1/svc/web",
        "spiffe://td.example/ns/default/dc/a/b/svc/web",
        "spiffe://td.example/ns/other/dc/dc1/svc/web",
        "spiffe://td.example/ns/default/dc/dc1/svc/web/x",
        "xspiffe://td.example/ns/default/dc/dc1/svc/web",
        "spiffe://td.example/mesh/zone/dc1",
        "",
    ],
)
def test_only_a_workload_of_the_trust_domain_is_allowed(peer: str) -> None:
    for source in ("web", "*"):
        rules = _compiled(Intention(source, "api", Action.ALLOW)).network.rules
        assert not allows(rules, Request(peer))
        assert allows(rules, Request("spiffe://td.example/ns/default/dc/any-zone/svc/web"))


def test_a_denial_of_everybody_spares_nobody() -> None:
    held = grouped((Intention("*", "api", Action.DENY), Intention("web", "api", Action.ALLOW)))
    rules = authorize(held, "api", _scope(Protocol.TCP, default_allow=True)).network.rules

    assert not allows(rules, Request(""))
    assert not allows(rules, Request("spiffe://td.example/mesh/zone/dc1"))
    assert allows(rules, Request("spiffe://td.example/ns/default/dc/dc1/svc/web"))


def test_a_name_is_no_expression() -> None:
    rules = _compiled(Intention("w.b", "api", Action.ALLOW)).network.rules

    assert allows(rules, Request("spiffe://td.example/ns/default/dc/dc1/svc/w.b"))
    assert not allows(rules, Request("spiffe://td.example/ns/default/dc/dc1/svc/web"))


def test_policies_are_called_after_their_intentions() -> None:
    found = _compiled(
        Intention("web", "api", Action.ALLOW),
        Intention("db", "api", Action.DENY),
        Intention("*", "*", Action.ALLOW),
    ).network
    assert set(found.rules.policies) == {"*-to-*", "web-to-api"}
    assert found.stat_prefix == "intentions."


def test_the_order_of_intentions_does_not_change_the_bytes() -> None:
    held = [
        Intention("web", "api", permissions=(_READS,)),
        Intention("db", "api", Action.ALLOW),
        Intention("*", "*", Action.ALLOW),
    ]

    def wire(found: Authorization) -> bytes:
        return bytes(found.http.SerializeToString(deterministic=True))

    assert wire(_compiled(*held)) == wire(_compiled(*reversed(held)))


def test_what_wildcards_override_needs_no_http() -> None:
    found = _compiled(
        Intention("*", "api", Action.ALLOW), Intention("web", "*", permissions=(_READS,))
    )
    assert found.http is None


def test_permissions_on_tcp_deny() -> None:
    found = _compiled(Intention("web", "api", permissions=(_READS,)), protocol=Protocol.TCP)

    assert found.http is None
    assert not found.network.rules.policies
    assert found.network.rules.action == found.network.rules.ALLOW


def test_only_providers_that_are_asked_for_verify_tokens() -> None:
    found = _compiled(Intention("web", "api", Action.ALLOW, jwt=(JwtRequirement("okta"),)))

    assert list(found.jwt.providers) == ["okta"]


def test_a_token_of_an_unknown_provider_never_suffices() -> None:
    intention = Intention("web", "api", Action.ALLOW, jwt=(JwtRequirement("okta"),))
    filters = authorize(grouped((intention,)), "api", _scope(Protocol.HTTP, providers={}))
    call = Call("web", "api", Protocol.HTTP, "GET", "/", claims={"okta": {}})

    assert filters.jwt is None
    assert not allows(filters.http.rules, _request(call))


def test_a_remote_key_set_is_fetched_from_the_named_cluster() -> None:
    provider = JwtProvider("okta", "https://okta.test", remote_uri="https://okta.test/keys")
    intention = Intention("web", "api", Action.ALLOW, jwt=(JwtRequirement("okta"),))
    scope = _scope(Protocol.HTTP, providers={"okta": provider})

    found: Any = authorize(grouped((intention,)), "api", scope).jwt

    assert found.providers["okta"].remote_jwks.http_uri.cluster == "jwks:okta"
