"""The pure half: what Consul says, as values and as problems."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from mesh.clients.consul import HealthCheck, HealthEntry
from mesh.clients.consul.answers import AgentService, Node, Weights
from mesh.model.intentions import JwtLocation
from mesh.model.services import Health, Protocol
from mesh.model.violations import InvalidInputError
from mesh.sources.consul import sweep
from mesh.sources.consul.entries import parse_proxy_defaults, parse_service_defaults
from mesh.sources.consul.guard import Evidence, Rules, judge
from mesh.sources.consul.instances import parse_instances, worst
from mesh.sources.consul.jwt import parse_jwt_provider


def entry(
    identifier: str = "web-1", address: str = "10.0.0.1", *statuses: str, port: int = 21000
) -> HealthEntry:
    checks = tuple(HealthCheck(status, check_id=str(n)) for n, status in enumerate(statuses))
    service = AgentService(
        "web-sidecar-proxy",
        id=identifier,
        address=address,
        port=port,
        weights=Weights(passing=10, warning=2),
        meta={"version": "2"},
    )
    return HealthEntry(Node("n1", "10.9.9.9", meta={"zone": "a"}), service, checks)


def test_health_is_the_worst_of_all_checks_and_the_weight_follows() -> None:
    found, problems = parse_instances(
        "web",
        [
            entry("b", "10.0.0.2", "passing", "warning"),
            entry("a", "10.0.0.1", "passing"),
            entry("c", "10.0.0.3", "warning", "critical"),
        ],
    )
    assert [(item.id, item.health, item.weight) for item in found] == [
        ("a", Health.PASSING, 10),
        ("b", Health.WARNING, 2),
        ("c", Health.CRITICAL, 10),
    ]
    assert found[0].meta == {"version": "2"}
    assert found[0].node_meta == {"zone": "a"}
    assert problems == ()


def test_no_check_is_passing_and_an_unknown_status_critical() -> None:
    assert worst([]) is Health.PASSING
    assert worst([HealthCheck("maintenance")]) is Health.CRITICAL


def test_a_service_without_address_answers_at_its_nodes() -> None:
    ((instance,), _) = parse_instances("web", [entry("a", "")])
    assert instance.address == "10.9.9.9"


def test_ipv6_is_an_address() -> None:
    ((instance,), _) = parse_instances("web", [entry("a", "fd00::1")])
    assert instance.address == "fd00::1"


def test_a_malformed_instance_keeps_its_last_good_version_and_the_others_go_on() -> None:
    known, _ = parse_instances("web", [entry("a", "10.0.0.1", "passing")])
    found, problems = parse_instances(
        "web",
        [entry("a", "web.example", port=0), entry("b", "10.0.0.2"), entry("c", "c.example")],
        known,
    )
    assert [(item.id, item.address) for item in found] == [("a", "10.0.0.1"), ("b", "10.0.0.2")]
    assert [(item.name, item.standing) for item in problems] == [
        ("web: a on n1", "the last good version stands"),
        ("web: c on n1", "it is left out"),
    ]
    assert [item.path for item in problems[0].violations] == ["Service.Address", "Service.Port"]


def test_service_defaults_with_everything_else_consul_knows() -> None:
    raw: dict[str, Any] = {
        "Kind": "service-defaults",
        "Name": "web",
        "Protocol": "HTTP2",
        "MeshGateway": {"Mode": "local"},
        "ExternalSNI": "",
        "Expose": {},
        "UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": 500}},
        "Destination": None,
        "MaxInboundConnections": 5,
        "LocalRequestTimeoutMs": 100,
        "RateLimits": {},
        "MutualTLSMode": "strict",
        "TransparentProxy": {},
        "Meta": {"a": "b"},
        "CreateIndex": 1,
        "ModifyIndex": 2,
    }
    assert parse_service_defaults(raw).protocol is Protocol.HTTP2
    assert parse_service_defaults({"Kind": "service-defaults", "Name": "web"}).protocol is (
        Protocol.TCP
    )


def test_service_defaults_report_every_violation() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_service_defaults({"Name": "a.b", "Protocol": "htpp", "Protocols": "http"})
    paths = {violation.path for violation in caught.value.violations}
    assert paths == {"Name", "Protocol", "Protocols"}


def test_proxy_defaults_keep_the_protocol_in_an_open_config() -> None:
    raw = {
        "Kind": "proxy-defaults",
        "Name": "global",
        "Config": {"protocol": "grpc", "local_connect_timeout_ms": 7},
        "AccessLogs": {},
    }
    assert parse_proxy_defaults(raw).protocol is Protocol.GRPC
    with pytest.raises(InvalidInputError, match="Name: must be global"):
        parse_proxy_defaults({"Name": "local"})


KEY = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
JWKS = json.dumps({"keys": [KEY]})


def provider(**fields: Any) -> dict[str, Any]:
    local = {"Local": {"JWKS": base64.b64encode(JWKS.encode()).decode()}}
    return {
        "Kind": "jwt-provider",
        "Name": "okta",
        "Issuer": "https://okta",
        "JSONWebKeySet": local,
        **fields,
    }


def test_a_local_jwt_provider() -> None:
    found = parse_jwt_provider(
        provider(
            Audiences=["shop"],
            Locations=[
                {"Header": {"Name": "Authorization", "ValuePrefix": "Bearer", "Forward": True}},
                {"QueryParam": {"Name": "token"}},
                {"Cookie": {"Name": "session"}},
            ],
            Forwarding={"HeaderName": "x-user", "PadForwardPayloadHeader": True},
            ClockSkewSeconds=5,
            CacheConfig={"Size": 10},
        )
    )
    assert found.jwks == JWKS
    assert found.audiences == ("shop",)
    assert found.forward
    assert found.forward_header == "x-user"
    assert found.forward_padded
    assert found.clock_skew == 5
    assert found.locations == (
        JwtLocation(header="Authorization", value_prefix="Bearer"),
        JwtLocation(query_param="token"),
        JwtLocation(cookie="session"),
    )


@pytest.mark.parametrize("cache", ["1h30m", 5_400_000_000_000])
def test_a_remote_jwt_provider(cache: object) -> None:
    remote = {"URI": "https://okta/keys", "RequestTimeoutMs": 1500, "CacheDuration": cache}
    found = parse_jwt_provider(provider(JSONWebKeySet={"Remote": remote}))
    assert (found.remote_uri, found.remote_timeout, found.remote_cache) == (
        "https://okta/keys",
        1.5,
        5400.0,
    )
    assert found.clock_skew == 30


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"URI": "https://idp:99999/keys"}, "JSONWebKeySet.Remote.URI"),
        ({"URI": "https://idp:keys/"}, "JSONWebKeySet.Remote.URI"),
        ({"URI": "https:///keys"}, "JSONWebKeySet.Remote.URI"),
        ({"URI": "https://[::1/keys"}, "JSONWebKeySet.Remote.URI"),
        ({"CacheDuration": "9999999999999h"}, "JSONWebKeySet.Remote.CacheDuration"),
        ({"RequestTimeoutMs": 10**18}, "JSONWebKeySet.Remote.RequestTimeoutMs"),
    ],
)
def test_a_key_set_that_no_proxy_could_fetch_is_a_violation(
    changes: dict[str, object], path: str
) -> None:
    """The renderer would stumble over it, and so would everybody whose turn it is."""
    remote = {"URI": "https://idp/keys", **changes}
    with pytest.raises(InvalidInputError) as caught:
        parse_jwt_provider(provider(JSONWebKeySet={"Remote": remote}))
    assert [violation.path for violation in caught.value.violations] == [path]


def test_a_clock_cannot_be_off_by_more_than_envoy_can_count() -> None:
    with pytest.raises(InvalidInputError, match="ClockSkewSeconds"):
        parse_jwt_provider(provider(ClockSkewSeconds=2**32))


def test_a_jwt_provider_reports_every_violation() -> None:
    raw = provider(
        Issuer="",
        JSONWebKeySet={"Local": {"JWKS": "no base64!"}, "Remote": {"URI": "ldap://x"}},
        Locations=[{"Header": {"Name": "a"}, "Cookie": {"Name": "b"}}],
        Colour="red",
    )
    with pytest.raises(InvalidInputError) as caught:
        parse_jwt_provider(raw)
    assert {violation.path for violation in caught.value.violations} == {
        "Issuer",
        "JSONWebKeySet",
        "JSONWebKeySet.Local.JWKS",
        "JSONWebKeySet.Remote.URI",
        "Locations[0]",
        "Colour",
    }


@given(
    st.sampled_from([True, False, None]),
    st.booleans(),
    st.floats(0, 1000, allow_nan=False),
)
def test_an_emptiness_is_never_believed_against_a_witness_and_always_in_the_end(
    witness: bool | None,  # noqa: FBT001 - drawn by Hypothesis
    regressed: bool,  # noqa: FBT001 - likewise
    lasted: float,
) -> None:
    rules = Rules()
    doubt = judge(Evidence(witness, regressed, lasted), rules)
    if witness is False:
        assert doubt
    elif lasted >= rules.after_regression or (witness and not regressed):
        assert not doubt


def check(status: str, service: str = "", node: str = "n", **fields: str) -> HealthCheck:
    identifier = f"{service}-id" if service else ""
    fields = {"check_id": f"{service or 'serf'}-check", **fields}
    return HealthCheck(status, node=node, service_id=identifier, service_name=service, **fields)


def test_checks_tell_whose_instances_to_look_at() -> None:
    before = sweep.by_key(
        [
            check("passing", "web-sidecar-proxy"),
            check("passing", "api-sidecar-proxy", output="fine"),
            check("passing", "old"),
            check("passing", node="n7"),
        ]
    )
    after = sweep.by_key(
        [
            check("critical", "web-sidecar-proxy"),
            check("passing", "api-sidecar-proxy", output="still fine"),
            check("passing", "new"),
            check("critical", node="n7"),
        ]
    )
    assert sweep.touched(before, after) == (frozenset({"web", "old", "new"}), frozenset({"n7"}))


def test_due_fetches_the_urgent_first_each_once_and_never_twice_at_a_time() -> None:
    due = sweep.Due()
    due.add(["a", "b", "c"])
    due.add(["c"], urgent=True)
    assert [due.take(), due.take()] == ["c", "a"]
    due.add(["a"], urgent=True)
    assert due.take() == "b"
    assert due.take() is None
    due.done("a")
    assert due.take() == "a"
    assert due.take() is None


@pytest.mark.parametrize("keys", [[], {}, None, [{"kty": "EC"}], [KEY, "x"], [{"kty": "new"}]])
def test_a_key_set_that_envoy_would_refuse_is_refused(keys: object) -> None:
    encoded = base64.b64encode(json.dumps({"keys": keys}).encode()).decode()
    raw = {"Name": "login", "Issuer": "me", "JSONWebKeySet": {"Local": {"JWKS": encoded}}}
    with pytest.raises(InvalidInputError) as refused:
        parse_jwt_provider(raw)
    assert [one.path for one in refused.value.violations] == ["JSONWebKeySet.Local.JWKS"]
