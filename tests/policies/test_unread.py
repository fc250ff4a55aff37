"""What stands in for a policy that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.inbound import OPEN_INBOUND, TlsMode
from mesh.model.services import Protocol
from mesh.policies.registry import KINDS
from mesh.policies.shape import EVERY_PROXY, ProxyRef
from mesh.policies.unread import stand_in

KIND = "MeshRequestAuthentication"
TEXT = st.text("abc", max_size=2)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
PROXIES = st.tuples(TEXT, LABELS)


def stood_in(ref: object) -> ProxyRef:
    return stand_in(KIND, "x", "default", {"spec": {"targetRef": ref}}).spec.target_ref


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "text",
        {},
        {"spec": None},
        {"spec": {"targetRef": {"kind": "MeshSorcery", "name": "api-1"}}},
        {"spec": {"targetRef": {"kind": "Dataplane", "labels": {"service": 1}}}},
        {"spec": {"targetRef": {"kind": "Dataplane", "name": ["api-1"]}}},
        {"spec": {"targetRef": {"kind": "Dataplane", "name": "a", "labels": {"b": "c"}}}},
    ],
)
def test_where_nobody_can_tell_whom_it_selects_it_is_every_proxy(raw: object) -> None:
    assert stand_in(KIND, "x", "default", raw).spec.target_ref == EVERY_PROXY


def test_what_is_not_known_of_a_choice_is_taken_to_narrow_it() -> None:
    known = ProxyRef(kind="Dataplane", labels={"service": "api"})
    later = {"kind": "Dataplane", "labels": {"service": "api", "tier": ["a"]}, "cluster": "east"}
    assert stood_in(later) == known


@given(name=TEXT, labels=LABELS, more=st.dictionaries(st.text("xyz", min_size=1), st.none()))
def test_every_proxy_that_a_readable_choice_selects_is_selected(
    name: str, labels: dict[str, str], more: dict[str, Any]
) -> None:
    said: dict[str, Any] = {"kind": "Dataplane", "name": name, "labels": labels}
    found = stood_in({**said, **more})
    if bool(name) != bool(labels):
        assert found == ProxyRef.model_validate(said)
    else:
        assert found == EVERY_PROXY


@pytest.mark.parametrize("kind", [KIND, "MeshExternalAuthorization"])
def test_requests_are_refused_and_connections_are_not_concerned(kind: str) -> None:
    closing = KINDS[kind].closing
    assert closing is not None
    (route,) = closing.apply(OPEN_INBOUND, Protocol.HTTP, f"{kind} x").routes
    assert route.match.is_everything
    assert f"{kind} x cannot be read" in route.refusal
    assert closing.apply(OPEN_INBOUND, Protocol.TCP, f"{kind} x") == OPEN_INBOUND


def test_plain_text_is_not_taken() -> None:
    closing = KINDS["MeshTLS"].closing
    assert closing is not None
    assert closing.apply(OPEN_INBOUND, Protocol.TCP, "MeshTLS x").mode is TlsMode.STRICT


def test_stand_ins_are_equal_if_they_select_the_same() -> None:
    first, second = (
        stand_in(KIND, "x", "default", {"spec": {"later": each}}) for each in ("a", "b")
    )
    assert first == second
