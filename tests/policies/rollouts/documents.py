"""Specs and figures for the tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.policies.document import parse
from mesh.policies.kinds.rollout import KIND, RolloutSpec
from mesh.policies.registry import KINDS
from mesh.policies.rollouts.figures import Figures

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = timedelta(seconds=10)
"""The interval between judgements that a spec has if it says nothing."""
GOOD = Figures(100)
BAD = Figures(100, 50)


def spec(*weights: float, **said: Any) -> RolloutSpec:
    """Return a spec whose steps have ``weights``, each held for a minute."""
    steps = [{"weight": weight, "hold": "1m"} for weight in weights or (5, 50)]
    raw = {
        "type": KIND.name,
        "name": "api-v2",
        "spec": {
            "service": "api",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v2"},
            "steps": steps,
            **said,
        },
    }
    found = parse(raw, KINDS).spec
    assert isinstance(found, RolloutSpec)
    return found
