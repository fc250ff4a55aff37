"""Answers in, changes out, and nothing said twice."""

import base64
from typing import Any

from mesh.clients.consul import HealthEntry
from mesh.clients.consul.answers import AgentService, KeyValue, Node
from mesh.model.destinations import Balancing, LoadBalancing
from mesh.model.entries import (
    Entries,
    ProxyDefaults,
    Resolver,
    Router,
    ServiceDefaults,
    Split,
    Splitter,
)
from mesh.model.intentions import Action, Intention
from mesh.model.services import Protocol
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problems
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
    VirtualAddressesChanged,
)


def learning() -> tuple[Knowledge, list[Change], Problems]:
    said: list[Change] = []
    problems = Problems()
    return Knowledge(said.append, problems), said, problems


def intentions(name: str, *sources: dict[str, Any]) -> dict[str, Any]:
    return {"Kind": "service-intentions", "Name": name, "Sources": list(sources)}


def pair(service: str, value: bytes) -> KeyValue:
    return KeyValue(f"mesh/vips/{service}", base64.b64encode(value).decode())


def test_the_catalog_leaves_out_sidecars_and_consul_itself() -> None:
    knowledge, said, _ = learning()
    services = {"web": (), "web-sidecar-proxy": (), "consul": (), "not.a.mesh.name": ()}
    knowledge.catalog(services)
    knowledge.catalog({**services, "api-sidecar-proxy": ()})
    assert said == [CatalogChanged(frozenset({"web"}))]


def test_instances_are_said_first_even_if_there_are_none_and_then_once() -> None:
    knowledge, said, _ = learning()
    entry = HealthEntry(Node("n"), AgentService("x", id="x-1", address="10.0.0.1", port=1))
    for answer in ((), (), (entry,), (entry,)):
        knowledge.instances("x", answer)
    assert [change.instances != () for change in said if isinstance(change, InstancesChanged)] == [
        False,
        True,
    ]
    assert knowledge.empties_instances("x", ())
    assert not knowledge.empties_instances("y", ())


def test_a_malformed_entry_keeps_its_last_good_version_until_it_is_mended() -> None:
    knowledge, said, problems = learning()
    good = intentions("api", {"Name": "web", "Action": "allow"})
    bad = intentions("api", {"Name": "web", "Action": "permit"})
    other = intentions("db", {"Name": "api", "Action": "allow"})
    knowledge.entries((good, other), with_intentions=True)
    knowledge.entries((bad, other), with_intentions=True)
    allowed = IntentionsChanged.of(
        (Intention("web", "api", Action.ALLOW), Intention("api", "db", Action.ALLOW))
    )
    assert [item for item in said if isinstance(item, IntentionsChanged)] == [allowed]
    (problem,) = problems.current
    assert (problem.kind, problem.name) == ("service-intentions", "api")
    assert problem.violations[0].path == "Sources[0].Action"
    knowledge.entries((good, other), with_intentions=True)
    assert problems.current == ()


def test_a_malformed_entry_that_never_was_good_is_closed() -> None:
    knowledge, said, problems = learning()
    knowledge.entries(
        (intentions("api", {"Name": "web", "Action": "deny", "New": 1}),), with_intentions=True
    )
    assert said[0] == IntentionsChanged.of((Intention("*", "api", Action.DENY),))
    assert "denied until it is mended" in problems.current[0].standing


def test_a_malformed_legacy_intention_counts_as_a_deny() -> None:
    knowledge, said, problems = learning()
    record = {"SourceName": "web", "DestinationName": "api", "Action": "allow", "New": 1}
    knowledge.records((record,))
    assert said == [IntentionsChanged.of((Intention("web", "api", Action.DENY),))]
    assert problems.current[0].name == "web → api"


def entries_said(said: list[Change]) -> list[Entries]:
    return [change.entries for change in said if isinstance(change, ConfigEntriesChanged)]


def resolver(name: str, policy: str) -> dict[str, Any]:
    return {"Kind": "service-resolver", "Name": name, "LoadBalancer": {"Policy": policy}}


def test_config_entries_of_other_kinds_pass_and_unknown_kinds_are_named() -> None:
    knowledge, said, problems = learning()
    knowledge.entries(
        (
            {"Kind": "terminating-gateway", "Name": "web", "Services": []},
            {"Kind": "service-defaults", "Name": "web", "Protocol": "http"},
            {"Kind": "service-defaults", "Name": "bad", "Protocol": "htpp"},
            {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "grpc"}},
            {"Kind": "service-router", "Name": "web", "Routes": []},
            {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]},
            resolver("web", "random"),
            {"Kind": "service-sorcery", "Name": "web"},
        ),
        with_intentions=False,
    )
    assert entries_said(said) == [
        Entries(
            {"web": ServiceDefaults("web", Protocol.HTTP), "bad": ServiceDefaults("bad")},
            ProxyDefaults(Protocol.GRPC),
            {"web": Router("web")},
            {"web": Splitter("web", (Split(100),))},
            {"web": Resolver("web", balancing=LoadBalancing(Balancing.RANDOM))},
        )
    ]
    assert [(item.kind, item.name) for item in problems.current] == [
        ("service-defaults", "bad"),
        ("service-sorcery", "web"),
    ]


def test_malformed_routing_keeps_its_last_good_version_or_is_left_out() -> None:
    knowledge, said, problems = learning()
    knowledge.entries((resolver("web", "random"),), with_intentions=False)
    knowledge.entries(
        (
            resolver("web", "roulette"),
            resolver("api", "roulette"),
            {"Kind": "service-router", "Name": "web", "Routes": [{"Path": "/"}]},
            {"Kind": "service-splitter", "Name": "web", "Splits": []},
        ),
        with_intentions=False,
    )
    (first,) = entries_said(said)
    assert set(first.resolvers) == {"web"}
    assert [(item.kind, item.name, item.standing) for item in problems.current] == [
        ("service-resolver", "api", "it is left out"),
        ("service-resolver", "web", "the last good version stands"),
        ("service-router", "web", "it is left out"),
        ("service-splitter", "web", "it is left out"),
    ]


def test_of_malformed_service_defaults_the_protocol_counts() -> None:
    knowledge, said, problems = learning()
    broken = {
        "Kind": "service-defaults",
        "Name": "web",
        "Protocol": "grpc",
        "UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": "soon"}},
    }
    knowledge.entries((broken,), with_intentions=False)
    (found,) = entries_said(said)
    assert found.protocol("web") is Protocol.GRPC
    assert [violation.path for violation in problems.current[0].violations] == [
        "UpstreamConfig.Defaults.ConnectTimeoutMs"
    ]


def test_losing_all_intentions_is_an_emptiness_even_if_other_entries_stay() -> None:
    knowledge, _, _ = learning()
    defaults = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
    knowledge.entries(
        (defaults, intentions("api", {"Name": "web", "Action": "allow"})), with_intentions=True
    )
    assert knowledge.empties_entries((defaults,))
    assert knowledge.empties_entries(())
    assert not knowledge.empties_entries((intentions("db", {"Name": "a", "Action": "deny"}),))


def test_virtual_addresses_without_the_released() -> None:
    knowledge, said, problems = learning()
    knowledge.addresses(
        (
            pair("web", b'{"ipv4": "240.0.0.1", "ipv6": "fd00::1"}'),
            pair(
                "old",
                b'{"ipv4": "240.0.0.2", "ipv6": "fd00::2", "released_at": "2025-01-01T00:00:00Z"}',
            ),
            pair("bad", b"not json"),
        )
    )
    assert said == [VirtualAddressesChanged({"web": ("240.0.0.1", "fd00::1")})]
    assert [item.name for item in problems.current] == ["bad"]
