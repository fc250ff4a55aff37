"""The promises of one stream, one by one."""

from __future__ import annotations

import pytest

from mesh.envoy.resource import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE
from mesh.xds import session as module
from mesh.xds import subscription
from mesh.xds.responses import Push
from mesh.xds.session import HOLD_SECONDS, Session
from mesh.xds.status import Nack
from mesh.xds.subscription import ProtocolViolationError
from tests.xds.model import Content, request, resource, response, snapshot

ALL = (CLUSTER, ENDPOINTS, LISTENER, ROUTE, EXTENSION)
FULL = {url: {"a": "1"} for url in ALL}


def said(pushes: list[Push]) -> list[tuple[str, list[str], list[str]]]:
    """Return type, changed names and removed names of each response."""
    read = [response(push) for push in pushes]
    return [
        (one.type_url, [r.name for r in one.resources], list(one.removed_resources)) for one in read
    ]


def acknowledge(session: Session, pushes: list[Push], at: float = 0.0) -> list[Push]:
    """Acknowledge each response; return what follows."""
    following: list[Push] = []
    for push in pushes:
        nonce = response(push).nonce
        following += session.receive(request(push.type_url, nonce=nonce), at)
    return following


def connected(content: Content) -> Session:
    """Return a session whose client subscribed to ``a`` and ``b`` of all, and has it all."""
    session = Session(snapshot(content))
    for type_url in ALL:
        names = [] if type_url in (CLUSTER, LISTENER) else ["a", "b"]
        pushes = session.receive(request(type_url, subscribe=names))
        while pushes:
            pushes = acknowledge(session, pushes)
    assert session.in_sync
    return session


def test_changes_go_from_clusters_to_what_refers_to_them() -> None:
    session = connected(FULL)
    pushes = session.offer(snapshot({url: {"a": "2"} for url in ALL}))
    assert [push.type_url for push in pushes] == list(ALL)


def test_removals_go_last_and_backwards() -> None:
    session = connected({url: {"a": "1", "b": "1"} for url in ALL})
    changed = session.offer(snapshot({url: {"a": "2"} for url in ALL}))
    assert said(changed) == [(url, ["a"], []) for url in ALL]
    assert acknowledge(session, changed[:3]) == []
    removed = acknowledge(session, changed[3:4])
    assert said(removed) == [(url, [], ["b"]) for url in (ROUTE, LISTENER, ENDPOINTS, CLUSTER)]
    assert acknowledge(session, changed[4:] + removed) == []


def test_an_extension_is_given_up_and_never_taken_away() -> None:
    session = connected({EXTENSION: {"a": "1", "b": "1"}})
    assert session.offer(snapshot({EXTENSION: {"a": "1"}})) == []
    assert session.in_sync
    # It is still held, and so not sent again.
    assert session.offer(snapshot({EXTENSION: {"a": "1", "b": "1"}})) == []
    changed = session.offer(snapshot({EXTENSION: {"a": "1", "b": "2"}}))
    assert said(changed) == [(EXTENSION, ["b"], [])]
    assert acknowledge(session, changed) == []
    assert session.offer(snapshot({EXTENSION: {"a": "1"}})) == []
    assert session.receive(request(EXTENSION, unsubscribe=["b"])) == []
    again = session.receive(request(EXTENSION, subscribe=["b"]))
    assert said(again) == [(EXTENSION, [], ["b"])]


def test_listeners_and_routes_wait_for_a_new_cluster_but_not_for_ever() -> None:
    session = connected(FULL)
    content = {url: {"a": "2"} for url in ALL} | {CLUSTER: {"a": "1", "b": "1"}}
    first = session.offer(snapshot(content), 10.0)
    assert [push.type_url for push in first] == [CLUSTER, ENDPOINTS, EXTENSION]
    assert session.tick(10.0 + HOLD_SECONDS / 2) == []
    late = session.tick(10.0 + HOLD_SECONDS)
    assert [push.type_url for push in late] == [LISTENER, ROUTE]
    assert session.tick(20.0) == []


def test_listeners_and_routes_go_when_the_new_cluster_is_acknowledged() -> None:
    session = connected(FULL)
    content = {url: {"a": "2"} for url in ALL} | {CLUSTER: {"a": "1", "b": "1"}}
    first = session.offer(snapshot(content))
    following = acknowledge(session, first[:1])
    assert [push.type_url for push in following] == [LISTENER, ROUTE]


def test_a_slow_client_gets_only_the_newest() -> None:
    session = connected(FULL)
    waiting = session.offer(snapshot(FULL | {ENDPOINTS: {"a": "2"}}))
    for version in ("3", "4", "5"):
        assert session.offer(snapshot(FULL | {ENDPOINTS: {"a": version}})) == []
    [newest] = acknowledge(session, waiting)
    assert [one.version for one in response(newest).resources] == ["5"]


def test_endpoints_follow_a_changed_cluster_unchanged() -> None:
    session = connected(FULL)
    pushes = session.offer(snapshot(FULL | {CLUSTER: {"a": "2"}}))
    assert said(pushes) == [(CLUSTER, ["a"], []), (ENDPOINTS, ["a"], [])]


def test_unchanged_content_is_not_sent() -> None:
    session = connected(FULL)
    assert session.offer(snapshot(FULL)) == []


def test_a_wildcard_is_answered_even_with_nothing() -> None:
    assert said(Session({}).receive(request(CLUSTER))) == [(CLUSTER, [], [])]
    explicit = Session(snapshot(FULL)).receive(request(ENDPOINTS, subscribe=["*"]))
    assert said(explicit) == [(ENDPOINTS, ["a"], [])]


def test_a_name_that_does_not_exist_is_answered_and_comes_when_it_does() -> None:
    session = Session(snapshot(FULL))
    pushes = session.receive(request(ENDPOINTS, subscribe=["a", "no"]))
    assert said(pushes) == [(ENDPOINTS, ["a"], ["no"])]
    assert acknowledge(session, pushes) == []
    created = session.offer(snapshot(FULL | {ENDPOINTS: {"a": "1", "no": "1"}}))
    assert said(created) == [(ENDPOINTS, ["no"], [])]


def test_a_known_name_is_sent_again_when_asked_for_again() -> None:
    session = connected(FULL)
    pushes = session.receive(request(ENDPOINTS, subscribe=["a"]))
    assert said(pushes) == [(ENDPOINTS, ["a"], [])]


def test_after_unsubscribing_nothing_comes() -> None:
    session = connected(FULL)
    assert session.receive(request(ENDPOINTS, unsubscribe=["a"])) == []
    assert session.offer(snapshot(FULL | {ENDPOINTS: {"a": "2"}})) == []
    again = session.receive(request(ENDPOINTS, subscribe=["a"]))
    assert said(again) == [(ENDPOINTS, ["a"], [])]


def test_unsubscribing_below_a_wildcard_tells_what_the_wildcard_still_gives() -> None:
    session = connected(FULL)
    acknowledge(session, session.receive(request(CLUSTER, subscribe=["a", "gone"])))
    pushes = session.receive(request(CLUSTER, unsubscribe=["a", "gone"]))
    assert said(pushes)[0] == (CLUSTER, ["a"], ["gone"])
    acknowledge(session, pushes)
    assert session.receive(request(CLUSTER, unsubscribe=["*"])) == []
    assert session.offer(snapshot(FULL | {CLUSTER: {"a": "9"}})) == []


def test_a_reconnecting_client_gets_only_what_differs() -> None:
    content = {CLUSTER: {"same": "1", "changed": "2", "new": "1"}}
    held = {"same": "1", "changed": "1", "gone": "1"}
    session = Session(snapshot(content))
    pushes = session.receive(request(CLUSTER, have=held))
    assert said(pushes) == [(CLUSTER, ["changed", "new"], [])]
    assert said(acknowledge(session, pushes)) == [(CLUSTER, [], ["gone"])]


def test_a_refused_resource_waits_for_new_content() -> None:
    session = connected(FULL)
    [push] = session.offer(snapshot(FULL | {LISTENER: {"a": "2"}}), 5.0)
    nonce = response(push).nonce
    assert session.receive(request(LISTENER, nonce=nonce, error="no such filter"), 7.0) == []
    assert session.offer(snapshot(FULL | {LISTENER: {"a": "2"}})) == []
    status = next(one for one in session.status() if one.type_url == LISTENER)
    assert status.nack == Nack(("a",), "no such filter", 7.0)
    assert not session.in_sync
    mended = session.offer(snapshot(FULL | {LISTENER: {"a": "3"}}))
    assert said(mended) == [(LISTENER, ["a"], [])]
    acknowledge(session, mended)
    assert not session.offer(snapshot(FULL | {LISTENER: {"a": "3"}}))
    after = next(one for one in session.status() if one.type_url == LISTENER)
    assert (after.nack, after.nacks) == (None, 1)


def test_neighbours_of_a_refused_resource_are_sent_alone() -> None:
    session = Session(snapshot({ENDPOINTS: {"a": "1", "b": "1"}}))
    [both] = session.receive(request(ENDPOINTS, subscribe=["a", "b"]))
    refusal = request(ENDPOINTS, nonce=response(both).nonce, error="b is wrong")
    first = session.receive(refusal)
    assert said(first) == [(ENDPOINTS, ["a"], [])]
    second = acknowledge(session, first)
    assert said(second) == [(ENDPOINTS, ["b"], [])]
    refusal = request(ENDPOINTS, nonce=response(second[0]).nonce, error="b is wrong")
    assert session.receive(refusal) == []
    [status] = session.status()
    assert status.nack is not None
    assert status.nack.names == ("b",)


def test_an_old_nonce_acknowledges_nothing() -> None:
    session = Session(snapshot(FULL))
    session.receive(request(CLUSTER))
    assert session.receive(request(CLUSTER, nonce="ffff", error="late")) == []
    [status] = session.status()
    assert (status.waiting, status.acked, status.nacks) == (True, 0, 0)


def test_a_large_answer_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    one = resource(CLUSTER, "a", "1")
    monkeypatch.setattr(subscription, "MAX_BODY", 2 * len(one.wire))
    session = Session(snapshot({CLUSTER: dict.fromkeys("abcde", "1")}))
    pushes = session.receive(request(CLUSTER))
    parts = []
    while pushes:
        parts += said(pushes)
        pushes = acknowledge(session, pushes)
    assert [names for _, names, _ in parts] == [["a", "b"], ["c", "d"], ["e"]]
    assert session.in_sync


def test_what_one_stream_may_ask_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TYPES", 2)
    monkeypatch.setattr(subscription, "MAX_NAMES", 3)
    session = Session({})
    session.receive(request("x"))
    session.receive(request(ENDPOINTS, subscribe=["1", "2"]))
    with pytest.raises(ProtocolViolationError, match="at most 2 types"):
        session.receive(request("y"))
    with pytest.raises(ProtocolViolationError, match="at most 3"):
        session.receive(request(ENDPOINTS, subscribe=["3", "4"]))


def test_the_steady_state_shares_the_snapshot() -> None:
    content = snapshot(FULL)
    session = connected(FULL)
    acknowledge(session, session.offer(content))
    held = session._subscriptions[CLUSTER]._have  # noqa: SLF001 - memory is the promise
    assert held is content[CLUSTER]
