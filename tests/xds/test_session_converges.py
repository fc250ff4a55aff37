"""Whatever the order of events, a client ends with what it shall have."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.envoy.resource import CLUSTER, LISTENER, TYPE_URLS
from tests.xds.model import BAD, Client

NAMES = st.sampled_from("abcd")
SOME = st.sets(NAMES, min_size=1, max_size=3)
GOOD = st.sampled_from(["1", "2", "3"])
NAMED = st.sampled_from([url for url in TYPE_URLS if url not in (CLUSTER, LISTENER)])


def contents(versions: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, dict[str, str]]]:
    items = st.dictionaries(NAMES, versions, max_size=4)
    return st.fixed_dictionaries(dict.fromkeys(TYPE_URLS, items))


def events(versions: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    return st.lists(
        st.one_of(
            st.tuples(st.just("change"), contents(versions)),
            st.tuples(st.just("subscribe"), NAMED, SOME),
            st.tuples(st.just("unsubscribe"), NAMED, SOME),
            st.tuples(st.just("reconnect")),
            *[st.tuples(st.sampled_from(["serve", "deliver"]))] * 4,
        ),
        max_size=40,
    )


def play(client: Client, happened: list[tuple[Any, ...]]) -> None:
    client.subscribe(CLUSTER, set())
    client.subscribe(LISTENER, set())
    for kind, *arguments in happened:
        getattr(client, kind)(*arguments)
    client.settle()


@settings(max_examples=150, deadline=None)
@given(contents(GOOD), events(GOOD))
def test_converges(first: dict[str, dict[str, str]], happened: list[tuple[Any, ...]]) -> None:
    client = Client(first)
    play(client, happened)
    for type_url in client.names:
        held = client.have[type_url]
        assert client.expected(type_url).items() <= held.items()
        assert held.keys() <= client.may_hold(type_url)
    assert client.session.in_sync


@settings(max_examples=150, deadline=None)
@given(contents(GOOD | st.just(BAD)), events(GOOD | st.just(BAD)))
def test_what_is_refused_harms_nothing_else(
    first: dict[str, dict[str, str]], happened: list[tuple[Any, ...]]
) -> None:
    client = Client(first)
    play(client, happened)
    for type_url in client.names:
        expected = client.expected(type_url)
        refused = {name for name, version in expected.items() if version == BAD}
        held = client.have[type_url]
        assert {name: held.get(name) for name in expected.keys() - refused} == {
            name: version for name, version in expected.items() if version != BAD
        }
        assert held.keys() <= client.may_hold(type_url)
        assert BAD not in held.values()
        status = next(one for one in client.session.status() if one.type_url == type_url)
        assert set(status.nack.names if status.nack else ()) == refused
