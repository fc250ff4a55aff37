"""Policy documents: what the KV holds, as what the world knows."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient, KeyValue
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.model.violations import InvalidInputError
from mesh.policies.document import Document, parse
from mesh.policies.kinds import timeout
from mesh.sources.consul import ConsulSource, Problems
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.policies import PREFIX, parse_document, raw_documents
from mesh.world.changes import Change, PoliciesChanged
from tests.realconsul import RealConsul
from tests.sources.consul.recorder import Recorder

KINDS = {timeout.KIND.name: timeout.KIND}


def document(name: str = "slow", idle: str = "5s") -> dict[str, Any]:
    to = {"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": idle}}
    return {"type": "MeshTimeout", "name": name, "mesh": "default", "spec": {"to": [to]}}


def pair(raw: dict[str, Any], *, at: str = "", version: int = 1) -> KeyValue:
    envelope = {"version": version, "document": raw, "applied_at": "2025-01-01T00:00:00Z"}
    value = base64.b64encode(json.dumps(envelope).encode()).decode()
    return KeyValue(PREFIX + (at or f"MeshTimeout/{raw['name']}"), value)


def learning() -> tuple[Knowledge, list[Change], Problems]:
    said: list[Change] = []
    problems = Problems()
    return Knowledge(said.append, problems, KINDS), said, problems


def policies(*raws: dict[str, Any]) -> PoliciesChanged:
    read = [parse(raw, KINDS) for raw in raws]
    return PoliciesChanged({each.key: each for each in read})


def test_documents_are_said_once_with_their_version() -> None:
    knowledge, said, _ = learning()
    knowledge.policies(())
    knowledge.policies((pair(document(), version=3), pair(document("other"))))
    knowledge.policies((pair(document(), version=4), pair(document("other"))))
    knowledge.policies((pair(document(idle="6s"), version=5),))
    assert said == [
        PoliciesChanged({}),
        policies(document(), document("other")),
        policies(document(idle="6s")),
    ]
    assert isinstance(said[1], PoliciesChanged)
    assert said[1].policies["MeshTimeout", "slow"].version == 3


def test_a_document_that_is_nested_without_end_stops_nobody() -> None:
    knowledge, said, problems = learning()
    deep = base64.b64encode(b'{"document": ' + b"[" * 100_000).decode()
    knowledge.policies((KeyValue(f"{PREFIX}MeshTimeout/deep", deep), pair(document())))
    assert said == [policies(document())]
    (wrong,) = problems.current
    assert "deep" in str(wrong)


def test_losing_all_policies_is_an_emptiness_and_losing_some_is_not() -> None:
    knowledge, _, _ = learning()
    assert not knowledge.empties_policies(())
    knowledge.policies((pair(document()), pair(document("other"))))
    assert knowledge.empties_policies(())
    assert not knowledge.empties_policies((pair(document()),))


def test_a_malformed_document_keeps_its_last_good_version_until_it_is_mended() -> None:
    knowledge, said, problems = learning()
    knowledge.policies((pair(document()),))
    knowledge.policies((pair(document(idle="soon"), version=2),))
    assert said == [policies(document())]
    (problem,) = problems.current
    assert (problem.kind, problem.name) == ("policy", "MeshTimeout slow")
    assert problem.standing == "the last good version stands"
    assert problem.violations[0].path == "spec.to[0].default.idleTimeout"
    knowledge.policies((pair(document(idle="7s"), version=3),))
    assert said[-1] == policies(document(idle="7s"))
    assert problems.current == ()


def test_what_never_was_good_is_left_out_and_all_else_stands() -> None:
    knowledge, said, problems = learning()
    odd = {"type": "MeshSorcery", "name": "x", "mesh": "default", "spec": {}}
    knowledge.policies(
        (
            pair(document()),
            pair(odd, at="MeshSorcery/x"),
            pair(document(), at="MeshTimeout/fast"),
            KeyValue(f"{PREFIX}MeshTimeout/raw", base64.b64encode(b"{").decode()),
            KeyValue(f"{PREFIX}stray", None),
            KeyValue(f"{PREFIX}MeshTimeout/", None),
        )
    )
    assert said == [policies(document())]
    said_of = {each.name: (str(each.violations[0]), each.standing) for each in problems.current}
    assert said_of.keys() == {"MeshSorcery x", "MeshTimeout fast", "MeshTimeout raw", "stray"}
    assert "'MeshSorcery' is not one of MeshTimeout" in said_of["MeshSorcery x"][0]
    assert said_of["MeshTimeout fast"] == (
        "document.name: is 'slow', the key says fast",
        "it is left out",
    )


def test_a_document_of_another_mesh_is_not_at_home_here() -> None:
    elsewhere = pair({**document(), "mesh": "other"})
    (raw,) = raw_documents([elsewhere]).values()
    with pytest.raises(InvalidInputError, match="mesh: is 'other', the key says default"):
        parse_document(raw, KINDS)


async def test_documents_come_change_and_go(consul: RealConsul, changes: Recorder) -> None:
    def names() -> dict[str, int]:
        last = changes.last(PoliciesChanged)
        found: list[Document] = [] if last is None else list(last.policies.values())
        return {each.name: each.version for each in found}

    problems = Problems()
    address = ConsulAddress(consul.url, token=consul.token)
    async with ConsulClient(address) as client, Tasks() as tasks:
        store = Policies(client)
        await store.commit(puts(await store.read("default"), [document("a"), document("b")]))
        source = ConsulSource(client, changes, problems, SystemClock())
        tasks.spawn("source", source.run(), forever=True)
        await asyncio.wait_for(source.ready.wait(), 10)
        assert names() == {"a": 1, "b": 1}
        assert "kv/mesh/policies/default/" in {each.name for each in source.status()}
        await store.commit(puts(await store.read("default"), [document("a", idle="9s")]))
        await changes.until(lambda: names() == {"a": 2, "b": 1})
        gone = [Key("default", "MeshTimeout", name) for name in ("a", "b")]
        await store.commit(deletions(await store.read("default"), gone))
        await changes.until(lambda: names() == {})
    assert problems.current == ()
