"""The renderer: who has what, who is reached by a change, and that nothing is kept too long."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, SECRET, unpack
from mesh.model.entries import (
    Entries,
    FailoverTarget,
    Resolver,
)
from mesh.model.intentions import Action, Intention, PathMatch, PathMatchKind, Permission
from mesh.model.names import InvalidNameError, service_name
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.services import Health, Instance
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    IntentionsChanged,
    PoliciesChanged,
)
from mesh.world.reduce import reduce
from tests.render.worlds import (
    ALLOW,
    API,
    HTTP_API,
    KNOWN,
    ONE,
    OUTSIDE,
    WEB,
    move,
    names,
    world_after,
)


def test_a_proxy_gets_only_what_its_service_may_call() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    snapshot = renderer.connect(1, WEB)
    assert names(snapshot[CLUSTER]) == ["api", "local:app"]
    assert names(snapshot[ENDPOINTS]) == ["api"]
    assert names(snapshot[LISTENER]) == [
        "inbound",
        "outbound:api:127.0.0.1:9001",
        "outbound:db:127.0.0.1:9002",
    ]
    assert names(snapshot[ROUTE]) == ["api"]


def test_a_forbidden_http_call_is_told_who_what_and_how_to_allow_it() -> None:
    snapshot = Renderer(world_after(*KNOWN)).connect(1, WEB)
    route = unpack(snapshot[ROUTE][0]).virtual_hosts[0].routes[0]
    assert route.direct_response.status == 403
    sentence = route.direct_response.body.inline_string
    assert "web may not call api in zone dc1" in sentence
    assert "mesh intention allow web api" in sentence


def test_an_intention_changes_the_route_and_leaves_the_listener_alone() -> None:
    renderer = Renderer(world_after(*KNOWN))
    before = renderer.connect(1, WEB)
    after = move(renderer, IntentionsChanged.of((ALLOW,)))[1]
    assert after[LISTENER] == before[LISTENER]
    assert unpack(after[ROUTE][0]).virtual_hosts[0].routes[0].route.cluster == "api"
    back = move(renderer, IntentionsChanged.of(()))[1]
    assert back == before


def test_the_callee_admits_the_caller_and_its_listener_stays() -> None:
    renderer = Renderer(world_after(*KNOWN))
    before = renderer.connect(1, API)
    after = move(renderer, IntentionsChanged.of((ALLOW,)))[1]
    assert after[LISTENER] == before[LISTENER]
    context = unpack(after[SECRET][0]).validation_context
    pattern = context.match_typed_subject_alt_names[0].matcher.safe_regex.regex
    assert pattern == "spiffe://td/ns/default/dc/[^/]+/svc/(?:web)"


def test_permissions_bring_the_http_manager_in_and_take_it_out_again() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    plain = renderer.connect(1, API)
    get_only = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/v1"))
    l7 = move(renderer, IntentionsChanged.of((Intention("web", "api", permissions=(get_only,)),)))[
        1
    ]

    def filters(snapshot: Any) -> list[str]:
        chain = unpack(snapshot[LISTENER][0]).filter_chains[0]
        return [one.name.rsplit(".", 1)[-1] for one in chain.filters]

    assert filters(plain) == ["inbound-connections", "tcp_proxy"]
    assert filters(l7) == ["http_connection_manager"]
    assert filters(move(renderer, IntentionsChanged.of((ALLOW,)))[1]) == filters(plain)


def test_an_upstream_is_left_out_until_its_instances_are_known() -> None:
    renderer = Renderer(world_after(HTTP_API, IntentionsChanged.of((ALLOW,))))
    assert names(renderer.connect(1, WEB)[LISTENER]) == ["inbound"]
    assert renderer.needed == {"api", "db"}
    after = move(renderer, InstancesChanged("api", (ONE,)))[1]
    assert names(after[LISTENER]) == ["inbound", "outbound:api:127.0.0.1:9001"]


def test_a_critical_instance_gets_no_traffic_and_others_keep_their_weight() -> None:
    sick = Instance("api-2", "n2", "127.0.0.2", 1, health=Health.CRITICAL)
    heavy = Instance("api-3", "n3", "127.0.0.3", 1, weight=7, health=Health.WARNING)
    renderer = Renderer(
        world_after(
            *KNOWN, IntentionsChanged.of((ALLOW,)), InstancesChanged("api", (ONE, sick, heavy))
        )
    )
    found = unpack(renderer.connect(1, WEB)[ENDPOINTS][0]).endpoints[0].lb_endpoints
    assert [
        (one.endpoint.address.socket_address.address, one.load_balancing_weight.value)
        for one in found
    ] == [("127.0.0.1", 1), ("127.0.0.3", 7)]


def test_an_instance_change_reaches_its_callers_alone() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    renderer.connect(1, WEB)
    renderer.connect(2, API)
    changed = move(renderer, InstancesChanged("api", ()))
    assert set(changed) == {1}


def test_equal_needs_share_the_same_objects() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    first, second = renderer.connect(1, WEB), renderer.connect(2, WEB)
    for type_url, resources in first.items():
        assert all(one is other for one, other in zip(resources, second[type_url], strict=True)), (
            type_url
        )


def test_a_tcp_service_that_may_not_be_called_closes_with_a_line_in_the_log() -> None:
    snapshot = Renderer(world_after(*KNOWN)).connect(1, WEB)
    built = unpack(snapshot[LISTENER][2])
    proxy = built.filter_chains[0].filters[0].typed_config.value
    assert b"web may not call db in zone dc1" in proxy
    assert b"refused" in proxy


def test_what_may_not_be_called_ends_nowhere_that_a_service_could_be() -> None:
    need = ProxyNeed("web", "dc1", WEB.inbound, (Upstream("refused", 9001), Upstream("db", 9002)))
    world = world_after(InstancesChanged("db", ()), InstancesChanged("refused", ()))
    snapshot = Renderer(world).connect(1, need)
    proxy = unpack(snapshot[LISTENER][2]).filter_chains[0].filters[0].typed_config
    proxied = tcp_proxy_pb2.TcpProxy()
    proxy.Unpack(proxied)
    assert proxied.cluster not in names(snapshot[CLUSTER])
    with pytest.raises(InvalidNameError):
        service_name(proxied.cluster)


def test_a_part_that_cannot_be_rendered_keeps_its_last_good_and_stops_nobody() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    before = renderer.connect(1, WEB)
    bad = InstancesChanged("api", (Instance("api-1", "n1", "127.0.0.1", -1),))
    good = InstancesChanged("db", (Instance("db-1", "n1", "127.0.0.1", 15008),))
    world, touched = reduce(renderer.world, bad)
    world, more = reduce(world, IntentionsChanged.of((ALLOW, Intention("web", "db", Action.ALLOW))))
    world, most = reduce(world, good)
    after = renderer.advance(world, touched | more | most)[1]
    assert names(after[ENDPOINTS]) == ["api", "db"]
    assert after[ENDPOINTS][0] == before[ENDPOINTS][0]
    assert len(renderer.broken) == 1
    changed = move(renderer, InstancesChanged("api", ()))
    assert changed[1][ENDPOINTS][0] != before[ENDPOINTS][0]
    assert not renderer.broken


def test_a_caller_is_told_nothing_of_those_it_may_not_fail_over_to() -> None:
    entries = Entries(
        resolvers={"api": Resolver("api", failover={"*": (FailoverTarget("db"),)})},
    )
    other = Instance("db-1", "n1", "127.0.0.8", 15008)
    renderer = Renderer(
        world_after(
            *KNOWN,
            InstancesChanged("db", (other,)),
            ConfigEntriesChanged(entries, {}),
            IntentionsChanged.of((ALLOW,)),
        )
    )

    def told(snapshot: Any) -> list[tuple[int, str]]:
        (found,) = (one for one in snapshot[ENDPOINTS] if one.name == "api")
        return [
            (group.priority, one.endpoint.address.socket_address.address)
            for group in unpack(found).endpoints
            for one in group.lb_endpoints
        ]

    assert told(renderer.connect(1, WEB)) == [(0, "127.0.0.1")]
    both = (ALLOW, Intention("web", "db", Action.ALLOW))
    assert told(move(renderer, IntentionsChanged.of(both))[1]) == [
        (0, "127.0.0.1"),
        (1, "127.0.0.8"),
    ]


def test_outside_the_mesh_nobody_judges_requests_so_what_turns_on_them_is_refused() -> None:
    outside = parse(yaml.safe_load(OUTSIDE), KINDS)
    get_only = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/v1"))
    renderer = Renderer(
        world_after(
            *KNOWN,
            PoliciesChanged({outside.key: outside}),
            IntentionsChanged.of((Intention("web", "db", permissions=(get_only,)),)),
        )
    )
    snapshot = renderer.connect(1, WEB)
    assert "db" not in names(snapshot[CLUSTER])
    (table,) = (one for one in snapshot[ROUTE] if one.name == "db")
    answer = unpack(table).virtual_hosts[0].routes[0].direct_response
    assert answer.status == 403
    assert "nobody outside the mesh judges" in answer.body.inline_string
    after = move(renderer, IntentionsChanged.of((Intention("web", "db", Action.ALLOW),)))[1]
    assert "db" in names(after[CLUSTER])


def test_policies_reach_a_proxy_whatever_else_changes_with_them() -> None:
    renderer = Renderer(world_after(*KNOWN, IntentionsChanged.of((ALLOW,))))
    assert names(renderer.connect(1, API)[ROUTE]) == []
    guard = parse(
        {
            "type": "MeshRequestAuthentication",
            "name": "users",
            "spec": {"rules": [{"default": {"providers": ["corporate"]}}]},
        },
        KINDS,
    )
    world, touched = reduce(renderer.world, DefaultPolicyChanged(allow=True))
    world, more = reduce(world, PoliciesChanged({guard.key: guard}))
    assert names(renderer.advance(world, touched | more)[1][ROUTE]) == ["inbound"]


def test_nothing_broken_is_told_of_a_proxy_that_has_gone() -> None:
    renderer = Renderer(world_after(*KNOWN))
    rules = [
        {
            "matches": [{"path": {"type": "RegularExpression", "value": f"/{n}.*"}}],
            "default": {},
        }
        for n in range(40)
    ]
    told: dict[str, dict[str, Any]] = {
        "MeshTimeout": {"http": {"requestTimeout": "1s"}},
        "MeshRequestAuthentication": {"providers": ["p"]},
    }
    many = [
        parse(
            {
                "type": kind,
                "name": "many",
                "spec": {"rules": [{**rule, "default": default} for rule in rules]},
            },
            KINDS,
        )
        for kind, default in told.items()
    ]
    move(renderer, PoliciesChanged({one.key: one for one in many}))
    renderer.connect(1, API)
    assert list(renderer.broken) == ["inbound side of api"]
    renderer.disconnect(1)
    assert renderer.broken == {}
    assert renderer.is_empty
