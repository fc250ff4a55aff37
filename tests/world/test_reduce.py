"""The reducer converges, whatever the order, and names exactly what differs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.entries import Entries, ProxyDefaults, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.services import Health, Instance, Protocol
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
    VirtualAddressesChanged,
)
from mesh.world.facets import Aspect, Facet
from mesh.world.reduce import NOTHING, reduce
from mesh.world.snapshot import World

EMPTY = World("dc1", "td")
NAMES = st.sampled_from(["web", "api", "db"])
INSTANCES = st.builds(
    Instance,
    id=st.sampled_from(["a", "b", "c"]),
    node=st.sampled_from(["n1", "n2"]),
    address=st.just("127.0.0.1"),
    port=st.integers(1, 3),
    health=st.sampled_from(Health),
)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        InstancesChanged,
        NAMES,
        st.lists(INSTANCES, max_size=3, unique_by=lambda one: (one.node, one.id)).map(tuple),
    ),
    st.builds(InstancesForgotten, NAMES),
    st.builds(CatalogChanged, st.frozensets(NAMES)),
    st.builds(
        IntentionsChanged.of,
        st.lists(
            st.builds(Intention, NAMES | st.just("*"), NAMES, st.sampled_from(Action)),
            unique_by=lambda one: (one.source, one.destination),
        ).map(tuple),
    ),
    st.builds(DefaultPolicyChanged, st.booleans()),
    st.builds(
        ConfigEntriesChanged,
        st.builds(
            Entries,
            st.frozensets(NAMES).map(
                lambda names: {name: ServiceDefaults(name, Protocol.HTTP) for name in names}
            ),
            st.builds(ProxyDefaults, st.sampled_from(Protocol)),
        ),
        st.just({}),
    ),
    st.builds(VirtualAddressesChanged, st.dictionaries(NAMES, st.just(("240.0.0.1", "fd00::1")))),
)


def _subject(change: Change) -> tuple[type, str]:
    if isinstance(change, InstancesChanged | InstancesForgotten):
        return InstancesChanged, change.service
    return type(change), ""


@given(st.lists(CHANGES), st.randoms(use_true_random=False))
def test_only_the_last_word_on_each_subject_counts(changes: list[Change], shuffler: object) -> None:
    straight = EMPTY
    for change in changes:
        straight, _ = reduce(straight, change)
    last = list({_subject(change): change for change in changes}.values())
    shuffler.shuffle(last)  # type: ignore[attr-defined]  # Hypothesis hands out a random.Random
    shuffled = EMPTY
    for change in last:
        shuffled, _ = reduce(shuffled, change)
    assert shuffled == straight


@given(st.lists(CHANGES))
def test_news_twice_is_no_news(changes: list[Change]) -> None:
    world = EMPTY
    for change in changes:
        world, _ = reduce(world, change)
        again, touched = reduce(world, change)
        assert again is world
        assert touched == NOTHING


@given(st.lists(CHANGES))
def test_a_world_differs_if_and_only_if_a_facet_was_touched(changes: list[Change]) -> None:
    world = EMPTY
    for change in changes:
        after, touched = reduce(world, change)
        assert (after != world) == bool(touched)
        world = after


def test_intentions_touch_the_destinations_that_differ() -> None:
    allow = Intention("web", "api", Action.ALLOW)
    everywhere = Intention("*", "*", Action.DENY)
    world, _ = reduce(EMPTY, IntentionsChanged.of((allow,)))
    _, touched = reduce(world, IntentionsChanged.of((allow, everywhere)))
    assert touched == {Facet(Aspect.INTENTIONS, "*")}


def test_a_service_becomes_known_once() -> None:
    world, touched = reduce(EMPTY, InstancesChanged("api", ()))
    assert touched == {Facet(Aspect.INSTANCES, "api"), Facet(Aspect.KNOWN, "api")}
    one = Instance("a", "n", "127.0.0.1", 1)
    _, touched = reduce(world, InstancesChanged("api", (one,)))
    assert touched == {Facet(Aspect.INSTANCES, "api")}


def test_a_service_without_defaults_speaks_what_proxies_speak() -> None:
    entries = ConfigEntriesChanged(
        Entries({"db": ServiceDefaults("db")}, ProxyDefaults(Protocol.HTTP)), {}
    )
    world, _ = reduce(EMPTY, entries)
    assert world.protocol("db") is Protocol.TCP
    assert world.protocol("api") is Protocol.HTTP
