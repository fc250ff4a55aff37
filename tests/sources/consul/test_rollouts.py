"""States of rollouts: what the KV holds, as what the world knows."""

from __future__ import annotations

import base64

import msgspec

from mesh.clients.consul import KeyValue
from mesh.model.destinations import Target
from mesh.model.rollouts import Rollout
from mesh.policies.rollouts.progress import begin, ended
from mesh.policies.rollouts.state import PREFIX, Phase, State, encode
from mesh.sources.consul import Problems
from mesh.sources.consul.knowledge import Knowledge
from mesh.world.changes import Change, RolloutsChanged
from tests.policies.rollouts.documents import NOW, spec

STATE = begin(spec(), 1, NOW)


def pair(name: str, state: State | bytes) -> KeyValue:
    data = state if isinstance(state, bytes) else encode(state)
    return KeyValue(PREFIX + name, base64.b64encode(data).decode())


def rollout(name: str, weight: int, run: str = STATE.run) -> Rollout:
    return Rollout(name, Target("api", "v1"), Target("api", "v2"), weight, run)


def learning() -> tuple[Knowledge, list[Change], Problems]:
    said: list[Change] = []
    problems = Problems()
    return Knowledge(said.append, problems), said, problems


def test_a_state_is_a_weight_and_said_when_that_changes() -> None:
    knowledge, said, _ = learning()
    knowledge.rollouts((pair("one", STATE),))
    # A judgement changes the state, and nothing for calls.
    knowledge.rollouts((pair("one", msgspec.structs.replace(STATE, reason="waits")),))
    knowledge.rollouts((pair("one", ended(STATE, Phase.PROMOTED, "well", NOW)),))
    knowledge.rollouts(())
    assert said == [
        RolloutsChanged({"api": rollout("one", 500)}),
        RolloutsChanged({"api": rollout("one", 10_000, "")}),
        RolloutsChanged({}),
    ]
    assert knowledge.empties_rollouts(()) is False


def test_of_two_for_one_service_the_first_stands() -> None:
    knowledge, said, _ = learning()
    knowledge.rollouts((pair("two", STATE), pair("one", STATE)))
    assert said == [RolloutsChanged({"api": rollout("one", 500)})]


def test_what_cannot_be_read_leaves_the_last_good_weight() -> None:
    knowledge, said, problems = learning()
    knowledge.rollouts((pair("one", STATE),))
    knowledge.rollouts((pair("one", b'{"weight": 5}'), pair("two", b"x")))
    assert len(said) == 1
    assert [(each.kind, each.name) for each in problems.current] == [
        ("rollout", "one"),
        ("rollout", "two"),
    ]
