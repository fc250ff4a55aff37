"""Resolvers: what each field becomes, and everything wrong at once."""

import re
from typing import Any

import pytest

from mesh.model.destinations import Balancing, HashKind, HashPolicy, LoadBalancing
from mesh.model.entries import FailoverTarget, Resolver, ResolverRedirect, Subset
from mesh.model.violations import InvalidInputError
from mesh.routing import bexpr
from mesh.sources.consul.entries import parse_resolver
from tests.sources.consul.violations import paths


def test_subsets_and_timeouts_of_a_resolver() -> None:
    text = "Service.Meta.version == v2"
    raw = {
        "Name": "web",
        "DefaultSubset": "v1",
        "Subsets": {"v1": {}, "v2": {"Filter": text, "OnlyPassing": True}},
        "ConnectTimeout": "250ms",
        "RequestTimeout": "7s",
    }
    assert parse_resolver(raw) == Resolver(
        "web",
        "v1",
        {"v1": Subset(), "v2": Subset(bexpr.parse(text), only_passing=True, text=text)},
        connect_timeout=0.25,
        request_timeout=7,
    )


def test_redirect_and_failover_keep_the_zone() -> None:
    redirect = {"Service": "api", "ServiceSubset": "v2", "Datacenter": "dc2"}
    found = parse_resolver({"Name": "web", "Redirect": redirect})
    assert found.redirect == ResolverRedirect("api", "v2", "dc2")
    failover = {
        "*": {"Datacenters": ["dc2", "dc3"]},
        "v1": {"Service": "api", "Policy": {"Mode": "default"}},
        "v2": {"Targets": [{"ServiceSubset": "v1"}, {"Service": "api", "Datacenter": "dc2"}]},
    }
    subsets: dict[str, object] = {"v1": {}, "v2": {}}
    found = parse_resolver({"Name": "web", "Subsets": subsets, "Failover": failover})
    assert found.failover == {
        "*": (FailoverTarget(zone="dc2"), FailoverTarget(zone="dc3")),
        "v1": (FailoverTarget("api"),),
        "v2": (FailoverTarget(subset="v1"), FailoverTarget("api", zone="dc2")),
    }


def balanced(**fields: Any) -> LoadBalancing | None:
    return parse_resolver({"Name": "web", "LoadBalancer": fields}).balancing


def test_load_balancers() -> None:
    assert balanced() is None
    assert balanced(Policy="round_robin") == LoadBalancing(Balancing.ROUND_ROBIN)
    assert balanced(Policy="random") == LoadBalancing(Balancing.RANDOM)
    assert balanced(Policy="least_request", LeastRequestConfig={"ChoiceCount": 3}) == LoadBalancing(
        Balancing.LEAST_REQUEST, choices=3
    )
    ring = {"MinimumRingSize": 100, "MaximumRingSize": 200}
    assert balanced(Policy="ring_hash", RingHashConfig=ring) == LoadBalancing(
        Balancing.RING_HASH, min_ring=100, max_ring=200
    )
    policies = [
        {"Field": "header", "FieldValue": "X-User", "Terminal": True},
        {"Field": "cookie", "FieldValue": "sid", "CookieConfig": {"TTL": "1h", "Path": "/"}},
        {"Field": "cookie", "FieldValue": "sid", "CookieConfig": {"Session": True}},
        {"Field": "cookie", "FieldValue": "sid"},
        {"Field": "query_parameter", "FieldValue": "user"},
        {"SourceIP": True},
    ]
    assert balanced(Policy="maglev", HashPolicies=policies) == LoadBalancing(
        Balancing.MAGLEV,
        hashing=(
            HashPolicy(HashKind.HEADER, "x-user", terminal=True),
            HashPolicy(HashKind.COOKIE, "sid", 3600, "/"),
            HashPolicy(HashKind.COOKIE, "sid", 0),
            HashPolicy(HashKind.COOKIE, "sid"),
            HashPolicy(HashKind.QUERY, "user"),
            HashPolicy(HashKind.SOURCE_IP),
        ),
    )


def test_everything_wrong_with_a_resolver_at_once() -> None:
    raw = {
        "Name": "web",
        "Namespace": "n",
        "DefaultSubset": "v9",
        "Subsets": {
            "V1": {"Only": 1},
            "v2": {"Filter": "Service.Bogus == 1 or Node.ID == 2"},
            "v3": {"Filter": "Service.Meta.version = 1"},
        },
        "Redirect": {"ServiceSubset": "v2", "Peer": "p", "SamenessGroup": "g"},
        "Failover": {
            "v8": {"Service": "api"},
            "*": {},
            "v2": {"ServiceSubset": "v7", "Datacenters": ["DC 2"], "Policy": {"Mode": "x"}},
            "v3": {"Service": "api", "Targets": [{}, {"Peer": "p", "Service": "x"}]},
        },
        "ConnectTimeout": "-5s",
        "RequestTimeout": "fast",
        "PrioritizeByLocality": {"Mode": "failover"},
        "LoadBalancer": {
            "Policy": "random",
            "LeastRequestConfig": {"ChoiceCount": 1},
            "RingHashConfig": {"MinimumRingSize": 9, "MaximumRingSize": 8, "Size": 1},
            "HashPolicies": [
                {"Field": "header", "SourceIP": True},
                {"Field": "colour", "FieldValue": "red"},
                {"Field": "header", "FieldValue": "a b", "CookieConfig": {"Path": "/"}},
                {"Field": "cookie", "FieldValue": "c", "CookieConfig": {"Session": True, "TTL": 1}},
                {},
            ],
        },
    }
    balancer, policies = "LoadBalancer", "LoadBalancer.HashPolicies"
    found = paths(parse_resolver, raw)
    assert found.count("Subsets.v2.Filter") == 2
    assert set(found) == {
        "",
        "Namespace",
        "DefaultSubset",
        "Subsets.V1",
        "Subsets.V1.Only",
        "Subsets.v2.Filter",
        "Subsets.v3.Filter",
        "Redirect.ServiceSubset",
        "Redirect.Peer",
        "Redirect.SamenessGroup",
        "Failover.v8",
        "Failover.*",
        "Failover.v2.ServiceSubset",
        "Failover.v2.Datacenters[0]",
        "Failover.v2.Policy.Mode",
        "Failover.v3.Targets",
        "Failover.v3.Targets[0]",
        "Failover.v3.Targets[1].Peer",
        "ConnectTimeout",
        "RequestTimeout",
        "PrioritizeByLocality",
        f"{balancer}.LeastRequestConfig",
        f"{balancer}.LeastRequestConfig.ChoiceCount",
        f"{balancer}.RingHashConfig",
        f"{balancer}.RingHashConfig.MinimumRingSize",
        f"{balancer}.RingHashConfig.Size",
        policies,
        f"{policies}[0].SourceIP",
        f"{policies}[0].FieldValue",
        f"{policies}[1].Field",
        f"{policies}[2].FieldValue",
        f"{policies}[2].CookieConfig",
        f"{policies}[3].CookieConfig.TTL",
        f"{policies}[4]",
    }
    assert paths(parse_resolver, {"Name": "web", "Redirect": {}}) == ["Redirect"]
    own = {"Name": "web", "Redirect": {"Service": "web", "ServiceSubset": "v2"}}
    assert paths(parse_resolver, own) == ["Redirect.ServiceSubset"]


def test_a_filter_that_cannot_be_answered_says_so_and_where() -> None:
    raw = {"Name": "web", "Subsets": {"a": {"Filter": 'Checks.CheckID == "x"'}}}
    words = "Subsets.a.Filter: at character 1: Checks.CheckID is a field of Consul's that the mesh"
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        parse_resolver(raw)
