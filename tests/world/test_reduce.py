"""The reducer converges, whatever the order, and names exactly what differs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.entries import Entries, ProxyDefaults, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.services import Health, Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
    VirtualAddressesChanged,
    ZonesChanged,
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
    assert touched == {Facet(Aspect.INSTANCES, "api"), Facet(Aspect.PRESENT, "api")}


def test_a_service_without_defaults_speaks_what_proxies_speak() -> None:
    entries = ConfigEntriesChanged(
        Entries({"db": ServiceDefaults("db")}, ProxyDefaults(Protocol.HTTP)), {}
    )
    world, _ = reduce(EMPTY, entries)
    assert world.protocol("db") is Protocol.TCP
    assert world.protocol("api") is Protocol.HTTP


WEST = Zone("west", "td", "PEM", (Gateway("10.0.0.1", 1),), {"api": Exported(Protocol.HTTP, 2)}, 5)
EAST = Zone("east", "td", "PEM", (), {"api": Exported(Protocol.HTTP, 1)}, 9.0)


def zones(world: World, *found: Zone) -> tuple[World, set[tuple[str, str]]]:
    after, touched = reduce(world, ZonesChanged({one.name: one for one in found}))
    return after, {(facet.aspect.value, facet.name) for facet in touched}


def test_a_zone_that_comes_touches_what_it_lets_be_called() -> None:
    both, touched = zones(EMPTY, WEST, EAST)
    everything = {("gateways", "west"), ("gateways", "east"), ("zones", "")}
    assert touched == everything | {("exports", "api"), ("answering", "api")}
    assert [one.name for one in both.exporters("api")] == ["west", "east"]
    assert zones(both, WEST, EAST) == (both, set())


def test_what_differs_of_a_zone_is_told_by_itself() -> None:
    both, _ = zones(EMPTY, WEST, EAST)
    three = replace(WEST, services={"api": Exported(Protocol.HTTP, 3)})
    assert zones(both, three, EAST)[1] == set()
    nobody = replace(WEST, services={"api": Exported(Protocol.HTTP, 0)})
    assert zones(both, nobody, EAST)[1] == {("answering", "api")}
    moved = replace(WEST, gateways=(Gateway("10.0.0.2", 1),))
    assert zones(both, moved, EAST)[1] == {("gateways", "west")}
    another = replace(WEST, services={**WEST.services, "db": Exported(Protocol.TCP, 0)})
    assert zones(both, another, EAST)[1] == {("exports", "db")}
    renewed = replace(WEST, bundle="OTHER")
    assert zones(both, renewed, EAST)[1] == {("zones", "")}


def test_a_distance_matters_when_it_changes_the_order() -> None:
    both, _ = zones(EMPTY, WEST, EAST)
    nearer, touched = zones(both, replace(WEST, distance=4.0), EAST)
    assert not touched
    assert nearer.zones["west"].distance == 4.0
    assert zones(both, replace(WEST, distance=10.0), EAST)[1] == {("exports", "api")}
