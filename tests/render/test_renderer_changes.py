"""Whatever changes in whatever order: a snapshot is as one made afresh, and all is let go of."""

from __future__ import annotations

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.destinations import Target
from mesh.model.entries import (
    Entries,
    FailoverTarget,
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
)
from mesh.model.intentions import Action, Intention
from mesh.model.requests import EVERYTHING
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance, Protocol
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
    PoliciesChanged,
    RolloutsChanged,
)
from mesh.world.snapshot import World
from tests.render.worlds import API, HTTP_API, ONE, OUTSIDE, WEB, move

SERVICES = ["web", "api", "db"]


INTENTIONS = st.lists(
    st.builds(
        Intention,
        st.sampled_from([*SERVICES, "*"]),
        st.sampled_from([*SERVICES, "*"]),
        st.sampled_from(Action),
    ),
    max_size=4,
    unique_by=lambda one: (one.source, one.destination),
).map(lambda found: IntentionsChanged.of(tuple(found)))


ALL_GRPC = ConfigEntriesChanged(Entries(proxy_defaults=ProxyDefaults(Protocol.GRPC)), {})


VERSIONS = {"v1": Subset(), "v2": Subset(only_passing=True)}


ENTRIES = st.builds(
    Entries,
    st.just({name: ServiceDefaults(name, Protocol.HTTP) for name in ("api", "web", "db")}),
    st.just(ProxyDefaults()),
    st.dictionaries(
        st.just("api"),
        st.just(Router("api", (RouterRoute(EVERYTHING, RouteDestination("db", retries=2)),))),
    ),
    st.dictionaries(
        st.just("api"),
        st.just(Splitter("api", (Split(50, subset="v1"), Split(50, subset="v2")))),
    ),
    st.dictionaries(
        st.just("api"),
        st.sampled_from(
            [
                Resolver("api", subsets=VERSIONS),
                Resolver("api", default_subset="v1", subsets=VERSIONS),
                Resolver("api", redirect=ResolverRedirect("db")),
                Resolver("api", subsets=VERSIONS, failover={"*": (FailoverTarget("db"),)}),
            ]
        ),
    ),
)


POLICIES = [
    parse(yaml.safe_load(text), KINDS)
    for text in (*(kind.example for kind in KINDS.values()), OUTSIDE)
]


CHANGES: st.SearchStrategy[Change] = st.one_of(
    INTENTIONS,
    st.builds(DefaultPolicyChanged, st.booleans()),
    st.builds(
        InstancesChanged,
        st.sampled_from(SERVICES),
        st.sampled_from([(), (ONE,), (ONE, Instance("x", "n9", "127.0.0.9", 9))]),
    ),
    st.builds(InstancesForgotten, st.sampled_from(SERVICES)),
    st.sampled_from([HTTP_API, ALL_GRPC]),
    st.builds(ConfigEntriesChanged, ENTRIES, st.just({})),
    st.lists(st.sampled_from(POLICIES), unique_by=lambda one: one.key, max_size=4).map(
        lambda found: PoliciesChanged({one.key: one for one in found})
    ),
    st.dictionaries(
        st.just("api"),
        st.builds(
            Rollout,
            st.just("r"),
            st.just(Target("api")),
            st.just(Target("db")),
            st.sampled_from([0, 500]),
        ),
    ).map(RolloutsChanged),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(CHANGES, max_size=12))
def test_a_snapshot_kept_true_equals_one_made_afresh(changes: list[Change]) -> None:
    renderer = Renderer(World("dc1", "td"))
    kept = {1: renderer.connect(1, WEB), 2: renderer.connect(2, API)}
    for change in changes:
        if isinstance(change, InstancesForgotten) and change.service in renderer.needed:
            # Nobody forgets what is needed.
            continue
        before = dict(kept)
        reached = move(renderer, change)
        kept.update(reached)
        for service in renderer.needed - renderer.world.instances.keys():
            kept.update(move(renderer, InstancesChanged(service, ())))
        if renderer.errors:
            # What was good stands; who comes afresh cannot know it.
            continue
        fresh = Renderer(renderer.world)
        assert kept == {1: fresh.connect(1, WEB), 2: fresh.connect(2, API)}
        assert all(before[number] != snapshot for number, snapshot in reached.items())


@settings(deadline=None, max_examples=50)
@given(st.lists(CHANGES, max_size=8))
def test_nothing_is_kept_for_sessions_that_are_gone(changes: list[Change]) -> None:
    renderer = Renderer(World("dc1", "td"))
    for number, change in enumerate(changes):
        renderer.connect(number, WEB if number % 2 else API)
        move(renderer, change)
    for number in range(len(changes)):
        renderer.disconnect(number)
    assert renderer.is_empty
