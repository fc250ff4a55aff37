"""The callee's filters and routes: nothing that was not asked for, and every half has its other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf import empty_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.envoy import connections, http, inbound_http, inbound_listener, jwt, listener, tls
from mesh.envoy.filters import local_limit, tokens
from mesh.model.destinations import Limits
from mesh.model.inbound import (
    OPEN_INBOUND,
    PLAIN_INBOUND,
    Abort,
    ExternalAuthorization,
    FailureMode,
    Fault,
    GlobalLimit,
    InboundRoute,
    InboundTraffic,
    LocalLimit,
    TokenBucket,
    TokenRule,
)
from mesh.model.intentions import JwtProvider
from mesh.model.requests import CallerMatch, Match, Timeouts

_LIMIT: Final = LocalLimit(TokenBucket(2, 1))
_GLOBAL: Final = GlobalLimit("rate", "api", (("policy", "p"),), 5, "minute")
_PROVIDERS: Final = {
    name: JwtProvider(name, f"https://{name}.test", jwks="{}") for name in ("okta", "corp")
}
_EVERYTHING: Final = InboundRoute(
    limit=_LIMIT,
    global_limits=(_GLOBAL,),
    fault=Fault(abort=Abort(1)),
    token=TokenRule(("okta",), claims=((("team",), "a"),)),
    authorization=ExternalAuthorization("authz"),
)


def _names(*routes: InboundRoute) -> list[str]:
    return [name for name, _ in inbound_http.filters(routes, providers=_PROVIDERS)]


def _table(*routes: InboundRoute) -> Any:
    return inbound_http.route_table(
        "inbound", routes, cluster="app", trust_domain="td", providers=_PROVIDERS
    )


def _per_filter(*routes: InboundRoute) -> list[list[str]]:
    [host] = _table(*routes).virtual_hosts
    return [sorted(route.typed_per_filter_config) for route in host.routes]


def test_filters_stand_in_the_order_in_which_a_request_meets_them() -> None:
    assert _names(PLAIN_INBOUND, _EVERYTHING) == [
        "inbound-local-limit:1",
        "inbound-tokens",
        "inbound-claims",
        "inbound-authorization:1:authz",
        "inbound-global-limit-values",
        "inbound-global-limit:1:rate:api",
        "inbound-fault",
    ]


def test_a_plain_route_has_no_filter_and_no_timeout() -> None:
    assert _names(PLAIN_INBOUND) == []
    [route] = _table(PLAIN_INBOUND).virtual_hosts[0].routes
    assert route.route.cluster == "app"
    assert route.route.HasField("timeout")
    assert route.route.timeout.ToSeconds() == 0
    assert not route.route.HasField("idle_timeout")
    assert not route.typed_per_filter_config


def test_timeouts() -> None:
    [route] = _table(InboundRoute(timeouts=Timeouts(1.5, 0))).virtual_hosts[0].routes
    assert route.route.timeout.ToMilliseconds() == 1500
    assert route.route.idle_timeout.ToSeconds() == 0


def test_callers_need_a_trust_domain() -> None:
    route = InboundRoute(match=Match(callers=(CallerMatch("web"),)))
    with pytest.raises(ValueError, match="trust domain"):
        inbound_http.route_table("inbound", [route], cluster="app", trust_domain="")


def test_each_manner_of_asking_has_a_filter_of_its_own() -> None:
    other = GlobalLimit("rate", "api", (("policy", "q"),), 9, "hour")
    slow = GlobalLimit("rate", "api", (("policy", "p"),), 5, "minute", FailureMode.OPEN, 2.0)
    domain = GlobalLimit("rate", "web", (("policy", "p"),), 5, "minute")
    routes = (
        InboundRoute(global_limits=(_GLOBAL, other)),
        InboundRoute(global_limits=(slow, domain)),
    )
    assert _names(*routes) == [
        "inbound-global-limit-values",
        "inbound-global-limit:1:rate:api",
        "inbound-global-limit:2:rate:api",
        "inbound-global-limit:1:rate:web",
    ]
    assert _per_filter(*routes) == [
        ["inbound-global-limit-values", "inbound-global-limit:1:rate:api"],
        [
            "inbound-global-limit-values",
            "inbound-global-limit:1:rate:web",
            "inbound-global-limit:2:rate:api",
        ],
    ]
    asking = [ExternalAuthorization("authz"), ExternalAuthorization("authz", max_body=9)]
    assert _names(*(InboundRoute(authorization=each) for each in asking)) == [
        "inbound-authorization:1:authz",
        "inbound-authorization:2:authz",
    ]


def test_a_limit_per_caller_remembers_so_many_callers() -> None:
    routes = [InboundRoute(limit=LocalLimit(TokenBucket(1, 1), per_caller=True))]
    [(_, found)] = local_limit.filters(routes, local_limit.names(routes))
    assert found.max_dynamic_descriptors.value == local_limit.CALLERS
    [descriptor] = found.descriptors
    assert [(entry.key, bool(entry.value)) for entry in descriptor.entries] == [
        ("rule", True),
        ("caller", False),
    ]


def test_a_rule_has_one_bucket_however_many_routes_it_has() -> None:
    one, two = (LocalLimit(TokenBucket(1, 1), rule=f"default/fair/{index}") for index in range(2))
    routes = [InboundRoute(limit=one), InboundRoute(limit=two), InboundRoute(limit=one)]
    [(_, found)] = local_limit.filters(routes, local_limit.names(routes))
    assert len(found.descriptors) == 2
    first, second, third = _table(*routes).virtual_hosts[0].routes
    assert first.route.rate_limits == third.route.rate_limits != second.route.rate_limits


def test_limits_that_answer_alike_share_a_filter() -> None:
    limits = [
        LocalLimit(TokenBucket(count, 1), status=status)
        for count in (1, 2)
        for status in (429, 503)
    ]
    routes = [InboundRoute(limit=limit) for limit in limits]
    assert _names(*routes) == ["inbound-local-limit:1", "inbound-local-limit:2"]


def test_the_intentions_filter_keeps_tokens_that_are_read_again() -> None:
    before = jwt.authentication(list(_PROVIDERS.values()), lambda provider: provider.name)
    after = tokens.kept(before, [InboundRoute(token=TokenRule(("okta",))), PLAIN_INBOUND])
    assert after.providers["okta"].forward
    assert not after.providers["corp"].forward
    assert not before.providers["okta"].forward
    assert tokens.kept(before, [PLAIN_INBOUND]) == before


def test_an_undefined_provider_has_no_requirement() -> None:
    rules = [TokenRule(("nobody",)), TokenRule(("nobody", "okta"), optional=True)]
    routes = [InboundRoute(token=rule) for rule in rules]
    [(_, verifier)] = inbound_http.filters(routes, providers=_PROVIDERS)
    [requirement] = verifier.requirement_map.values()
    first, second = requirement.requires_any.requirements
    assert first.provider_name == "okta"
    assert second.allow_missing == empty_pb2.Empty()


def test_connection_limits() -> None:
    assert list(connections.filters(OPEN_INBOUND)) == []
    assert list(connections.filters(InboundTraffic(limits=Limits(requests=5)))) == []
    rate, limit = connections.filters(
        InboundTraffic(limits=Limits(connections=7), connection_rate=TokenBucket(3, 0.5, 9))
    )
    assert rate[1].token_bucket.max_tokens == 9
    assert rate[1].token_bucket.tokens_per_fill.value == 3
    assert limit[1].max_connections.value == 7


def test_a_permissive_listener_has_one_way_for_each_kind_of_caller() -> None:
    built = inbound_listener.permissive(
        "inbound",
        address="127.0.0.1",
        port=1,
        filters=[listener.tcp_proxy("secure", "app")],
        plain_filters=[listener.tcp_proxy("plain", "app"), listener.tcp_proxy("again", "app")],
        transport=tls.downstream(peers_secret="peers"),
    )
    secure, plain = built.filter_chains
    assert secure.filter_chain_match.transport_protocol == "tls"
    assert secure.HasField("transport_socket")
    assert plain.filter_chain_match.transport_protocol == "raw_buffer"
    assert not plain.HasField("transport_socket")
    assert [len(chain.filters) for chain in built.filter_chains] == [1, 2]


def test_the_manager_turns_gates_on_and_filters_off() -> None:
    built = http.inbound_manager_by_routes(
        "inbound", gates=[("gate", "type/g")], filters=[("filter", "type/f")], refusals=[]
    )
    manager = hcm_pb2.HttpConnectionManager.FromString(built.typed_config.value)
    assert [(each.name, each.disabled) for each in manager.http_filters] == [
        ("gate", False),
        ("filter", True),
        ("envoy.filters.http.router", False),
    ]
    assert manager.rds.route_config_name == "inbound"


_LIMITS: Final = st.builds(
    GlobalLimit,
    service=st.sampled_from(["rate", "rate:api"]),
    domain=st.sampled_from(["api", "web"]),
    descriptor=st.just((("policy", "p"),)),
    limit=st.integers(1, 3),
    unit=st.sampled_from(["second", "day"]),
    failure=st.sampled_from(FailureMode),
)
_ROUTES: Final = st.builds(
    InboundRoute,
    limit=st.sampled_from([None, _LIMIT]),
    global_limits=st.lists(_LIMITS, max_size=3).map(tuple),
    fault=st.sampled_from([None, Fault(abort=Abort(1))]),
    token=st.sampled_from([None, TokenRule(("okta",)), _EVERYTHING.token]),
    authorization=st.one_of(
        st.none(),
        st.builds(
            ExternalAuthorization,
            service=st.sampled_from(["authz", "other"]),
            failure=st.sampled_from(FailureMode),
        ),
    ),
)


@given(st.lists(_ROUTES, min_size=1, max_size=5))
def test_routes_speak_to_every_filter_and_to_no_other(routes: Sequence[InboundRoute]) -> None:
    names = _names(*routes)
    assert len(set(names)) == len(names)
    assert {name for said in _per_filter(*routes) for name in said} == set(names)
