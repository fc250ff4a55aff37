"""MeshRollout: what a document may say."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.destinations import Target
from mesh.model.violations import InvalidInputError
from mesh.policies.document import parse
from mesh.policies.kinds.rollout import RolloutSpec
from mesh.policies.registry import KINDS


def read(**said: Any) -> RolloutSpec:
    spec = {
        "service": "api",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v2"},
        "steps": [{"weight": 5, "hold": "1m"}],
        **said,
    }
    found = parse({"type": "MeshRollout", "name": "one", "spec": spec}, KINDS).spec
    assert isinstance(found, RolloutSpec)
    return found


def violations(**said: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        read(**said)
    return [str(each) for each in refused.value.violations]


def test_without_gates_99_of_100_calls_must_succeed() -> None:
    found = read()
    assert (found.gates.success_rate.min, found.gates.min_requests) == (99, 100)
    assert (found.interval, found.failure_limit, found.gates.latency) == (10, 1, None)


def test_it_is_about_every_service_that_it_names() -> None:
    found = read(canary={"service": "api-next"})
    assert found.canary_target == Target("api-next")
    assert found.about("whatever") == ("api", "api-next")


def test_everything_wrong_is_told_at_once() -> None:
    steps = [{"weight": 5, "hold": "1m"}, {"weight": 5, "hold": "1m"}, {"weight": 2, "hold": "0"}]
    assert violations(canary={"subset": "v1"}, steps=steps) == [
        "spec.canary: is the stable version, v1.api: name another",
        "spec.steps[1].weight: 5 is not above the 5 of the step before",
        "spec.steps[2].weight: 2 is not above the 5 of the step before",
    ]
    found = violations(
        targetRef={"kind": "Mesh"},
        steps=[{"weight": 0, "hold": "1m"}, {"weight": 101, "hold": "soon"}],
        gates={"minRequests": 0, "latency": {}, "compareWithStable": {"x": 1}},
        interval="1ms",
        failureLimit=0,
    )
    assert [each.partition(":")[0] for each in found] == [
        "spec.targetRef",
        "spec.steps[0].weight",
        "spec.steps[1].weight",
        "spec.steps[1].hold",
        "spec.gates.minRequests",
        "spec.gates.latency.max",
        "spec.gates.compareWithStable.x",
        "spec.interval",
        "spec.failureLimit",
    ]
