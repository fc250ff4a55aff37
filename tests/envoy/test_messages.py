"""What the caller's builders put into a message, and what they leave out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from mesh.envoy import cluster, listener
from mesh.envoy.edits import followed
from mesh.envoy.endpoint import assignment, prioritised
from mesh.envoy.routes import route_table
from mesh.model.destinations import (
    Balancing,
    Destination,
    Detectors,
    External,
    Host,
    Limits,
    LoadBalancing,
    Outlier,
    Probe,
    ProbeKind,
    Selection,
    Settings,
    Target,
)
from mesh.model.requests import EVERYTHING, HeaderEdits
from mesh.model.services import Health, Instance, Protocol
from mesh.model.traffic import WHOLE, Forward, Mirror, Retry, Route, Share
from tests.identities import identities

API = Target("api")
TARGETS = [Target("api", subset) for subset in ("v1", "v2", "v3", "v4", "v5")]


def built(settings: Settings, protocol: Protocol = Protocol.HTTP) -> cluster_pb2.Cluster:
    destination = Destination(Selection(API), protocol, settings)
    return cluster.of_destination(destination, identities("dc1", "td"))


def said(message: object) -> set[str]:
    return {field.name for field, _ in message.ListFields()}  # type: ignore[attr-defined]  # protobuf is untyped


def test_plain_route_says_where_and_nothing_more() -> None:
    table = route_table("api", [Route(EVERYTHING, Forward((Share(API),)))])

    assert text_format.MessageToString(table, as_one_line=True) == (
        'name: "api" virtual_hosts { name: "api" domains: "*" routes { match { prefix: "/" } '
        'route { cluster: "api" timeout { } } } } validate_clusters { }'
    )


def test_plain_cluster_says_how_it_is_found_and_dialled_and_nothing_more() -> None:
    assert said(built(Settings())) == {
        "name",
        "type",
        "eds_cluster_config",
        "connect_timeout",
        "lb_policy",
        "transport_socket",
        "typed_extension_protocol_options",
        "upstream_connection_options",
    }
    # Round robin is Envoy's zero.
    plain = Settings(balancing=LoadBalancing(Balancing.ROUND_ROBIN))
    assert "typed_extension_protocol_options" not in said(built(plain, Protocol.TCP))
    assert "lb_policy" not in said(built(plain, Protocol.TCP))


def test_limits_say_only_what_was_said() -> None:
    assert not built(Settings(limits=Limits())).HasField("circuit_breakers")
    [some] = built(Settings(limits=Limits(pending=7))).circuit_breakers.thresholds
    [budget] = built(Settings(limits=Limits(retry_budget=25.0))).circuit_breakers.thresholds

    assert said(some) == {"max_pending_requests"}
    assert said(budget) == {"retry_budget"}
    assert said(budget.retry_budget) == {"budget_percent"}


def test_every_detector_is_either_on_or_off() -> None:
    outlier = Outlier(Detectors(consecutive_gateway=3, failure_percent=60), max_ejection_percent=0)
    found = built(Settings(outlier=outlier)).outlier_detection
    enforced = {
        field.name.removeprefix("enforcing_"): value.value
        for field, value in found.ListFields()
        if field.name.startswith("enforcing_")
    }

    assert enforced == {
        "consecutive_5xx": 0,
        "consecutive_gateway_failure": 100,
        "consecutive_local_origin_failure": 0,
        "success_rate": 0,
        "local_origin_success_rate": 0,
        "failure_percentage": 100,
        "failure_percentage_local_origin": 100,
    }
    assert found.consecutive_gateway_failure.value == 3
    assert not found.HasField("consecutive_5xx")
    assert not found.HasField("always_eject_one_host")


@pytest.mark.parametrize("protocol", Protocol)
def test_grpc_is_asked_only_where_it_is_understood(protocol: Protocol) -> None:
    probe = Probe(ProbeKind.GRPC, 1.0, 1.0, 1, 1, service="orders")
    [found] = built(Settings(probe=probe), protocol).health_checks
    understood = protocol in {Protocol.GRPC, Protocol.HTTP2}

    assert found.HasField("grpc_health_check") is understood
    assert found.HasField("tcp_health_check") is not understood


def test_failover_names_each_target_once() -> None:
    other = Target("db", "v2")
    destination = Destination(
        Selection(API),
        Protocol.GRPC,
        Settings(),
        failover=(Selection(other), Selection(API, only_passing=True)),
    )
    found = cluster.of_destination(destination, identities("dc1", "td"))

    assert [each.name for each in found.transport_socket_matches] == ["api", "v2.db"]
    assert found.transport_socket == found.transport_socket_matches[0].transport_socket


def test_external_addresses_need_no_dns() -> None:
    def kind(*addresses: str) -> int:
        external = External(tuple(Host(address, 80) for address in addresses))
        destination = Destination(Selection(API), Protocol.HTTP, Settings(), external=external)
        found: int = cluster.of_destination(destination, identities("dc1", "td")).type
        return found

    assert kind("10.0.0.1", "::1") == cluster_pb2.Cluster.STATIC
    assert kind("10.0.0.1", "a.example") == cluster_pb2.Cluster.STRICT_DNS


def instance(name: str, health: Health = Health.PASSING) -> Instance:
    return Instance(id=name, node="", address="10.0.0.1", port=1, health=health)


def test_a_group_keeps_its_priority_when_others_are_empty() -> None:
    lost = instance("lost", Health.CRITICAL)
    found = prioritised("api", [([lost], "api"), ([instance("b")], "db"), ([], "x")])

    assert [(each.priority, len(each.lb_endpoints)) for each in found.endpoints] == [(0, 0), (1, 1)]
    assert found.policy.overprovisioning_factor.value >= 10_000
    [endpoint] = found.endpoints[1].lb_endpoints
    metadata = endpoint.metadata.filter_metadata["envoy.transport_socket_match"]
    assert dict(metadata) == {"mesh": "db"}


def test_one_group_is_just_its_instances() -> None:
    found = assignment("api", [instance("a"), instance("lost", Health.CRITICAL)])

    assert said(found) == {"cluster_name", "endpoints"}
    assert said(found.endpoints[0]) == {"lb_endpoints"}
    assert not assignment("api", []).endpoints


def test_each_group_is_divided_into_near_and_far() -> None:
    groups = [([instance("near"), instance("far")], ""), ([instance("far")], "")]
    found = prioritised("api", groups, near=lambda each: each.id == "near")

    assert [len(each.lb_endpoints) for each in found.endpoints] == [1, 1, 0, 1]
    # The far ones help out before the last near one has gone.
    assert not found.policy.HasField("overprovisioning_factor")


def test_one_tcp_cluster_is_said_as_before() -> None:
    assert b"weighted" not in listener.tcp_proxy("a", "a").SerializeToString()


def test_retries_say_what_was_said() -> None:
    retry = Retry(0, ("reset",), other_hosts=False)
    [route] = (
        route_table("api", [Route(EVERYTHING, Forward((Share(API),)), retry=retry)])
        .virtual_hosts[0]
        .routes
    )

    assert said(route.route.retry_policy) == {"retry_on", "num_retries"}


def test_blocked_targets_get_no_copies() -> None:
    mirrors = (Mirror(TARGETS[0]), Mirror(TARGETS[1]), Mirror(TARGETS[2], 0.00001))
    routes = [Route(EVERYTHING, Forward((Share(API),)), mirrors=mirrors)]
    [route] = route_table("api", routes, refused={TARGETS[0]: "no"}).virtual_hosts[0].routes

    assert [each.cluster for each in route.route.request_mirror_policies] == ["v2.api"]


@st.composite
def forwards(draw: st.DrawFn) -> Forward:
    """Draw shares that sum to the whole."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), max_size=4)))
    weights = [end - start for start, end in zip([0, *cuts], [*cuts, WHOLE], strict=True)]
    return Forward(
        tuple(Share(target, weight) for target, weight in zip(TARGETS, weights, strict=False))
    )


@given(forwards(), st.sets(st.sampled_from(TARGETS)), st.sets(st.sampled_from(TARGETS)))
def test_every_share_keeps_its_size(
    forward: Forward, refused: set[Target], missing: set[Target]
) -> None:
    found = route_table(
        "api",
        [Route(EVERYTHING, forward)],
        refused=dict.fromkeys(refused, "refused"),
        missing=dict.fromkeys(missing, "missing"),
    )
    sizes: dict[str, int] = {}
    taken = 0
    for route in found.virtual_hosts[0].routes:
        fraction = route.match.runtime_fraction
        upto = (
            fraction.default_value.numerator if route.match.HasField("runtime_fraction") else WHOLE
        )
        # One random number is compared in every route, so a fraction holds those before it.
        if route.HasField("direct_response"):
            sizes[str(route.direct_response.status)] = upto - taken
        elif weighted := route.route.weighted_clusters.clusters:
            assert sum(each.weight.value for each in weighted) == WHOLE - taken
            sizes.update({each.name: each.weight.value for each in weighted})
        else:
            sizes[route.route.cluster] = upto - taken
        taken = upto

    expected: dict[str, int] = {}
    for share in forward.shares:
        name = share.target.name
        name = "500" if share.target in missing else "403" if share.target in refused else name
        if share.weight:
            expected[name] = expected.get(name, 0) + share.weight
    assert sizes == expected
    assert taken == WHOLE


NAMES = st.sampled_from(["a", "A", "b", "c"])
PAIRS = st.lists(st.tuples(NAMES, st.sampled_from("123")), max_size=3).map(tuple)
EDITS = st.builds(HeaderEdits, add=PAIRS, set=PAIRS, remove=st.lists(NAMES, max_size=2).map(tuple))


def edited(
    headers: Mapping[str, tuple[str, ...]], edits: HeaderEdits
) -> dict[str, tuple[str, ...]]:
    """Return ``headers`` as Envoy edits them at one level."""
    gone = {name.lower() for name in edits.remove}
    result = {name: values for name, values in headers.items() if name not in gone}
    for name, value in edits.set:
        result[name.lower()] = (value,)
    for name, value in edits.add:
        result[name.lower()] = (*result.get(name.lower(), ()), value)
    return result


@given(EDITS, EDITS)
def test_edits_of_a_share_come_after_those_of_its_route(
    route: HeaderEdits, share: HeaderEdits
) -> None:
    headers = {"a": ("0",), "b": ("0",)}

    assert edited(headers, followed(route, share)) == edited(edited(headers, route), share)
