"""Many kinds of change at once: what is kept true equals what is made afresh.

The estate is chosen so that much hangs together: callers with defaults of their own, routes to
services outside the chain, policies by label and by name, rollouts between subsets, two ports
for one upstream, a proxy that only calls and captures, token issuers that come and go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.destinations import Limits, Target
from mesh.model.entries import (
    Entries,
    FailoverTarget,
    GatewayMode,
    LinkedService,
    ProxyDefaults,
    Resolver,
    ResolverRedirect,
    RouteDestination,
    Router,
    RouterRoute,
    ServiceDefaults,
    Split,
    Splitter,
    Subset,
    UpstreamDefaults,
)
from mesh.model.intentions import Action, Intention, JwtProvider
from mesh.model.names import OUTSIDE, ZONE_EGRESS, ZONE_GATEWAY
from mesh.model.proxies import Capture, Inbound, ProxyNeed, Role, Upstream
from mesh.model.requests import EVERYTHING, Match, PathKind, PathMatch
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    IntentionsChanged,
    PoliciesChanged,
    RolloutsChanged,
    VirtualAddressesChanged,
    ZonesChanged,
)
from mesh.world.reduce import NOTHING, Touched, reduce
from mesh.world.snapshot import World

PLACE = Inbound("127.0.0.1", 15006, "127.0.0.1", 8080)
NEEDS = (
    ProxyNeed("web", "dc1", PLACE, (Upstream("api", 9001), Upstream("api", 9002)), id="web-1"),
    ProxyNeed(
        "web",
        "dc1",
        PLACE,
        (Upstream("api", 9001), Upstream("db", 9002)),
        id="web-2",
        labels=(("locality", "r1"), ("tier", "gold")),
    ),
    ProxyNeed(
        "cron",
        "dc1",
        None,
        (Upstream("v", 9001), Upstream("api", 9003)),
        id="cron-1",
        capture=Capture("127.0.0.1", 15001),
    ),
    ProxyNeed("api", "dc1", PLACE, (Upstream("authz", 9001),), id="api-1"),
    ProxyNeed(
        "api",
        "dc1",
        PLACE,
        id="api-2",
        capture=Capture("127.0.0.1", 15001, "::1"),
        dns=Capture("127.0.0.1", 15053, "::1"),
    ),
    ProxyNeed(ZONE_GATEWAY, "dc1", PLACE, role=Role.ZONE_GATEWAY, id="in-1"),
    ProxyNeed(ZONE_EGRESS, "dc1", PLACE, role=Role.EGRESS, id="out-1"),
)
DIALLED = (ZONE_EGRESS, f"{OUTSIDE}db", f"{OUTSIDE}authz")
SERVICES = ("web", "api", "db", "v", "authz", "cron")
NAMES = st.sampled_from(SERVICES)
ADDRESSES = {
    name: (f"240.0.0.{number}", f"fd00::{number}") for number, name in enumerate(SERVICES, 1)
}
SUBSETS = {"v1": Subset(), "v2": Subset(only_passing=True)}

DEFAULTS = st.dictionaries(
    NAMES,
    st.tuples(
        st.sampled_from(Protocol),
        st.sampled_from([None, 3.0]),
        st.dictionaries(
            st.sampled_from(["api", "db"]),
            st.sampled_from(
                [
                    UpstreamDefaults(limits=Limits(connections=7)),
                    UpstreamDefaults(gateway=GatewayMode.REMOTE),
                ]
            ),
        ),
        st.sampled_from([None, 9.0]),
        st.sampled_from(GatewayMode),
    ),
).map(
    lambda said: {
        name: ServiceDefaults(
            name,
            protocol,
            upstream=UpstreamDefaults(connect_timeout=connect),
            upstreams=upstreams,
            local_request_timeout=local,
            gateway=gateway,
        )
        for name, (protocol, connect, upstreams, local, gateway) in said.items()
    }
)
RESOLVERS: list[dict[str, Any]] = [
    {"subsets": SUBSETS},
    {"default_subset": "v1", "subsets": SUBSETS},
    {"redirect": ResolverRedirect("authz")},
    {"subsets": SUBSETS, "failover": {"*": (FailoverTarget("authz"),)}},
    {"subsets": SUBSETS, "failover": {"v1": (FailoverTarget("", "v2"),)}},
]
ENTRIES = st.builds(
    Entries,
    DEFAULTS,
    st.builds(
        ProxyDefaults,
        st.sampled_from([Protocol.HTTP, Protocol.HTTP, Protocol.TCP]),
        st.sampled_from(GatewayMode),
    ),
    st.dictionaries(
        st.sampled_from(["api", "v"]),
        st.sampled_from(
            [
                (RouterRoute(EVERYTHING, RouteDestination("db", retries=2)),),
                (
                    RouterRoute(
                        Match(PathMatch(PathKind.PREFIX, "/x")), RouteDestination("api", "v2")
                    ),
                ),
            ]
        ),
    ).map(lambda said: {name: Router(name, routes) for name, routes in said.items()}),
    st.dictionaries(
        st.sampled_from(["api", "v"]),
        st.sampled_from(
            [
                (Split(50, subset="v1"), Split(50, subset="v2")),
                (Split(90), Split(10, service="db")),
            ]
        ),
    ).map(lambda said: {name: Splitter(name, splits) for name, splits in said.items()}),
    st.dictionaries(
        st.sampled_from(["api", "v", "db"]),
        st.sampled_from(RESOLVERS),
    ).map(lambda said: {name: Resolver(name, **more) for name, more in said.items()}),
    st.dictionaries(st.sampled_from(["db", "authz"]), st.sampled_from(["", "ca.pem"])).map(
        lambda said: {name: LinkedService(name, file) for name, file in said.items()}
    ),
)
WEST = Zone(
    "west",
    "mesh.test",
    "PEM",
    (Gateway("10.9.0.1", 10001),),
    {"api": Exported(Protocol.HTTP, 1, {"v1": 1}), "v": Exported(Protocol.HTTP, 0)},
)


def _provider(name: str) -> JwtProvider:
    return JwtProvider(name, "https://issuer.example", jwks='{"keys": []}')


TEXTS = """
type: MeshHTTPRoute
name: away
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /v}}]
          default: {backendRefs: [{kind: MeshService, name: v}]}
        - matches: [{path: {type: Exact, value: /m}}]
          default:
            filters:
              - type: RequestMirror
                requestMirror: {backendRef: {kind: MeshService, name: db}}
---
type: MeshHTTPRoute
name: gold
spec:
  targetRef: {kind: Dataplane, labels: {tier: gold}}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules: [{default: {backendRefs: [{kind: MeshService, name: outside}]}}]
---
type: MeshTimeout
name: of-away
spec:
  to:
    - targetRef: {kind: MeshHTTPRoute, name: away}
      default: {http: {requestTimeout: 7s}}
---
type: MeshTimeout
name: one-proxy
spec:
  targetRef: {kind: Dataplane, name: web-1}
  to: [{targetRef: {kind: MeshService, name: v}, default: {connectionTimeout: 2s}}]
---
type: MeshTimeout
name: both-sides
spec:
  targetRef: {kind: Dataplane, labels: {service: api}}
  to: [{targetRef: {kind: Mesh}, default: {http: {requestTimeout: 5s}}}]
  rules: [{default: {http: {requestTimeout: 8s}}}]
---
type: MeshLoadBalancingStrategy
name: near
spec:
  to: [{targetRef: {kind: Mesh}, default: {localityAwareness: {preferLocal: true}}}]
---
type: MeshRequestAuthentication
name: users
spec: {rules: [{default: {providers: [corporate]}}]}
---
type: MeshExternalAuthorization
name: ask
spec:
  targetRef: {kind: Dataplane, labels: {service: api}}
  rules: [{default: {service: authz}}]
---
type: MeshExternalAuthorization
name: ask-v
spec:
  targetRef: {kind: Dataplane, name: api-1}
  rules: [{default: {service: v}}]
---
type: MeshExternalService
name: outside
spec: {match: {protocol: http}, endpoints: [{address: out.example.com, port: 443}], tls: {}}
---
type: MeshExternalService
name: db
spec: {match: {protocol: tcp}, endpoints: [{address: 192.0.2.1, port: 5432}]}
---
type: MeshExternalService
name: v
spec:
  match: {protocol: http}
  endpoints: [{address: v.example.com, port: 443}]
  tls: {}
  egress: true
---
type: MeshPassthrough
name: shut
spec: {default: {passthroughMode: None}}
---
type: MeshTCPRoute
name: elsewhere
spec:
  to:
    - targetRef: {kind: MeshService, name: db}
      rules: [{default: {backendRefs: [{kind: MeshService, name: v}]}}]
---
type: MeshTLS
name: soft
spec: {rules: [{default: {mode: Permissive}}]}
"""
POLICIES = [parse(raw, KINDS) for raw in yaml.safe_load_all(TEXTS)]
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.lists(
        st.builds(
            Intention,
            st.sampled_from([*SERVICES, "*"]),
            st.sampled_from([*SERVICES, "outside", "*"]),
            st.sampled_from(Action),
        ),
        max_size=5,
        unique_by=lambda one: (one.source, one.destination),
    ).map(lambda found: IntentionsChanged.of(tuple(found))),
    st.builds(DefaultPolicyChanged, st.booleans()),
    st.sets(NAMES).map(
        lambda found: VirtualAddressesChanged({name: ADDRESSES[name] for name in found})
    ),
    st.sampled_from([{}, {"west": WEST}, {"west": replace(WEST, gateways=())}]).map(ZonesChanged),
    st.builds(
        InstancesChanged,
        st.sampled_from([*SERVICES, *DIALLED]),
        st.sampled_from([(), (Instance("x", "n9", "127.0.0.9", 9, meta={"locality": "r1"}),)]),
    ),
    st.builds(
        ConfigEntriesChanged,
        ENTRIES,
        st.sampled_from([{}, {"corporate": _provider("corporate")}]),
    ),
    st.lists(st.sampled_from(POLICIES), unique_by=lambda one: one.key, max_size=5).map(
        lambda found: PoliciesChanged({one.key: one for one in found})
    ),
    st.dictionaries(
        st.just("api"),
        st.builds(
            Rollout,
            st.just("r"),
            st.sampled_from([Target("api"), Target("api", "v1")]),
            st.sampled_from([Target("db"), Target("api", "v2"), Target("outside")]),
            st.sampled_from([0, 500, 10_000]),
        ),
    ).map(RolloutsChanged),
)


def _move(renderer: Renderer, changes: list[Change]) -> dict[int, Any]:
    world, touched = renderer.world, NOTHING
    for change in changes:
        world, more = reduce(world, change)
        touched = Touched(touched | more)
    return dict(renderer.advance(world, touched))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=3), max_size=8))
def test_whatever_changes_a_snapshot_kept_true_equals_one_made_afresh(
    news: list[list[Change]],
) -> None:
    renderer = Renderer(World("dc1", "td"))
    kept = {number: renderer.connect(number, need) for number, need in enumerate(NEEDS)}
    for changes in news:
        kept.update(_move(renderer, changes))
        while missing := renderer.needed - renderer.world.instances.keys():
            kept.update(_move(renderer, [InstancesChanged(one, ()) for one in sorted(missing)]))
        assert not renderer.broken
        if renderer.errors:
            continue
        fresh = Renderer(renderer.world)
        assert kept == {number: fresh.connect(number, need) for number, need in enumerate(NEEDS)}
        assert not fresh.errors
