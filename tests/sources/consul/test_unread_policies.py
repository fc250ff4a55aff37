"""Documents in the store that cannot be read and guard something."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mesh.clients.consul import KeyValue
from mesh.policies.shape import EVERY_PROXY, ProxyRef
from mesh.policies.unread import Unread
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.policies import PREFIX
from mesh.sources.consul.problems import Problems
from mesh.world.changes import Change, PoliciesChanged

KIND = "MeshRequestAuthentication"
API = {"kind": "Dataplane", "labels": {"service": "api"}}


def guard(ref: object = API, **rule: Any) -> dict[str, Any]:
    spec = {"targetRef": ref, "rules": [{"default": {"providers": ["corporate"], **rule}}]}
    return {"type": KIND, "name": "users", "mesh": "default", "spec": spec}


def pair(held: object, *, at: str = f"{KIND}/users") -> KeyValue:
    data = held if isinstance(held, bytes) else json.dumps(held).encode()
    return KeyValue(PREFIX + at, base64.b64encode(data).decode())


def stored(document: object, **more: Any) -> dict[str, Any]:
    return {"version": 1, "document": document, "applied_at": "2025-01-01T00:00:00Z", **more}


def learning() -> tuple[Knowledge, list[Change], Problems]:
    said: list[Change] = []
    problems = Problems()
    return Knowledge(said.append, problems), said, problems


def chosen(said: list[Change]) -> ProxyRef | None:
    last = said[-1]
    assert isinstance(last, PoliciesChanged)
    found = last.policies.get((KIND, "users"))
    return found.spec.target_ref if found and isinstance(found.spec, Unread) else None


@pytest.mark.parametrize(
    ("held", "ref"),
    [
        (stored(guard(audience="later")), ProxyRef.model_validate(API)),
        (stored(guard(), signature="later"), ProxyRef.model_validate(API)),
        (stored(guard({**API, "cluster": "later"})), ProxyRef.model_validate(API)),
        (stored(guard({"kind": "Mesh"}, audience="later")), EVERY_PROXY),
        (stored(guard({"kind": "Later"})), EVERY_PROXY),
        (stored({**guard(), "name": "other"}), ProxyRef.model_validate(API)),
        (stored("later"), EVERY_PROXY),
        ([], EVERY_PROXY),
        (b"{", EVERY_PROXY),
        (b"\xff\xfe", EVERY_PROXY),
        (b"", EVERY_PROXY),
    ],
)
def test_one_that_never_was_good_closes_whom_it_selects(held: object, ref: ProxyRef) -> None:
    knowledge, said, problems = learning()
    knowledge.policies((pair(held),))
    assert chosen(said) == ref
    (problem,) = problems.current
    assert (problem.kind, problem.name) == ("policy", f"{KIND} users")
    assert problem.standing == "the HTTP proxies that it selects refuse every request meanwhile"


def test_one_that_was_good_stands_as_it_was() -> None:
    knowledge, said, problems = learning()
    knowledge.policies((pair(stored(guard())),))
    knowledge.policies((pair(stored(guard(audience="later"))),))
    knowledge.policies((pair(b"{"),))
    assert len(said) == 1
    assert chosen(said) is None
    assert problems.current[0].standing == "the last good version stands"


def test_what_stands_in_follows_whom_the_document_selects_until_it_is_mended() -> None:
    knowledge, said, problems = learning()
    for ref, found in (
        (API, ProxyRef.model_validate(API)),
        ({"kind": "Mesh"}, EVERY_PROXY),
        (API, ProxyRef.model_validate(API)),
    ):
        knowledge.policies((pair(stored(guard(ref, audience="later"))),))
        assert chosen(said) == found
    knowledge.policies((pair(stored(guard())),))
    assert chosen(said) is None
    assert problems.current == ()
    knowledge.policies(())
    assert said[-1] == PoliciesChanged({})


@pytest.mark.parametrize("at", [KIND, f"{KIND}/", f"{KIND}/users/1", "MeshTimeout/users"])
def test_a_key_that_guards_nothing_closes_nothing(at: str) -> None:
    knowledge, said, problems = learning()
    knowledge.policies((pair(b"{", at=at),))
    assert said == [PoliciesChanged({})]
    assert {each.standing for each in problems.current} <= {"it is left out"}


def test_a_mode_that_cannot_be_read_takes_no_plain_text() -> None:
    knowledge, said, problems = learning()
    knowledge.policies((pair(b"{", at="MeshTLS/users"),))
    assert isinstance(said[-1], PoliciesChanged)
    assert said[-1].policies.keys() == {("MeshTLS", "users")}
    standing = "the proxies that it selects take no plain text meanwhile"
    assert problems.current[0].standing == standing


def test_a_limit_that_cannot_be_read_is_left_out() -> None:
    # It keeps a service from too much; to refuse everything would be too little of a service.
    knowledge, said, problems = learning()
    knowledge.policies((pair(b"{", at="MeshRateLimit/users"),))
    assert said == [PoliciesChanged({})]
    assert problems.current[0].standing == "it is left out"
