"""``mesh apply --dry-run`` in words, and what keeps a MeshProxyPatch from being applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.cli import dry_run
from mesh.cli.output import Table
from mesh.cli.policy_store import Outcome, State
from mesh.clients.consul.policy_records import Key
from mesh.model.violations import InvalidInputError
from tests.cli.conftest import Mesh

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
PATCH = """\
type: MeshProxyPatch
name: patch
spec:
  default:
    appendModifications:
      - cluster: {operation: Remove, match: {name: api}}
"""
QUIET: dict[str, Any] = {
    "violations": [],
    "connected": 2,
    "proxies": [],
    "calls": [],
    "rejected": [],
    "envoy": {"checked": 0, "unchecked": 0, "note": ""},
}
REACH = {"targets": ["api"], "refused": [], "answers": [], "otherwise": {"api": 100.0}, "fault": ""}


def outcome(kind: str = "MeshTimeout") -> Outcome:
    return Outcome(Key("default", kind, "slow"), State.CONFIGURED, 1, 2)


def call(*change: str, **after: Any) -> dict[str, Any]:
    return {
        "caller": "web",
        "service": "api",
        "proxies": ["web/web-1"],
        "change": list(change),
        "before": REACH,
        "after": {**REACH, **after},
    }


def rejection(*names: str, proxy: str = "", reason: str = "no") -> dict[str, Any]:
    resources = [{"type": CLUSTER, "name": name} for name in names]
    return {"resources": resources, "proxy": proxy, "reason": reason}


def text(answer: dict[str, Any], *outcomes: Outcome) -> str:
    parts = dry_run.parts(outcomes, answer)
    return "\n".join(
        part if isinstance(part, str) else "\n".join(map(str, (part.columns, *part.rows)))
        for part in parts
        if isinstance(part, str | Table)
    )


def test_people_are_told_counts_and_calls_and_refusals() -> None:
    proxy = {
        "id": "web/web-1",
        "service": "web",
        "resources": [{"type": CLUSTER, "added": ["a", "b"], "changed": ["c"], "removed": []}],
    }
    answer = {
        **QUIET,
        "proxies": [proxy],
        "calls": [call("refused", refused=["spare"])],
        "rejected": [rejection("api", proxy="web/web-1", reason="bad\nworse")],
        "envoy": {"checked": 3, "unchecked": 2, "note": "not everything"},
    }
    said = text(answer, outcome())
    assert said.startswith("MeshTimeout slow: would be configured (v1→v2)")
    assert "change (1 of 2)" in said
    assert "Cluster: 2 added, 1 changed" in said
    assert "would be refused" in said
    assert "spare (refused)" in said
    assert "  Cluster api of web/web-1: bad\n    worse" in said
    assert "2 resources: not everything" in said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.CREATED, "MeshTimeout slow: would be created (v2)"),
        (State.DELETED, "MeshTimeout slow: would be deleted"),
        (State.UNCHANGED, "MeshTimeout slow: unchanged (v2)"),
        (State.ABSENT, "MeshTimeout slow: not there"),
    ],
)
def test_nothing_is_said_to_have_happened(state: State, said: str) -> None:
    foreseen = Outcome(Key("default", "MeshTimeout", "slow"), state, 1, 2)
    lines = text(QUIET, foreseen).splitlines()
    assert lines[0] == said
    assert "None: no resource would change." in lines


def test_of_what_is_refused_nothing_is_foreseen() -> None:
    wrong = {"document": "MeshTimeout slow", "path": "spec", "message": "is odd"}
    said = text({**QUIET, "violations": [wrong]}, outcome())
    assert "would be" not in said.replace("Nothing would be applied", "")
    assert "MeshTimeout slow: spec: is odd" in said


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("MeshTimeout", {}, False),
        ("MeshTimeout", {"calls": [call("targets", "shares")]}, False),
        ("MeshTimeout", {"calls": [call("refused")]}, True),
        ("MeshTimeout", {"calls": [call("unroutable", fault="x")]}, True),
        ("MeshTimeout", {"rejected": [rejection("api")]}, True),
        ("MeshTimeout", {"violations": [{"document": "d", "path": "", "message": "m"}]}, True),
        ("MeshTimeout", {"envoy": {"checked": 0, "unchecked": 1, "note": "n"}}, False),
        ("MeshProxyPatch", {"envoy": {"checked": 0, "unchecked": 1, "note": "n"}}, True),
    ],
)
def test_a_script_learns_whether_anything_would_be_refused(
    kind: str, answer: dict[str, Any], *, expected: bool
) -> None:
    found = dry_run.document([outcome(kind)], {**QUIET, **answer})
    assert found["refused"] is expected
    assert found["documents"][0]["state"] == "configured"


def test_violations_are_all_that_is_told() -> None:
    wrong = {"document": "MeshTimeout slow", "path": "spec.to", "message": "is odd"}
    said = text({**QUIET, "violations": [wrong]}, outcome())
    assert "MeshTimeout slow: spec.to: is odd" in said
    assert "Proxies" not in said


def test_a_patch_needs_an_envoy_that_was_asked_and_agreed() -> None:
    dry_run.refuse_patches({**QUIET, "envoy": {"checked": 1, "unchecked": 0, "note": ""}})
    with pytest.raises(InvalidInputError, match="Cluster api of web/web-1: bad"):
        dry_run.refuse_patches(
            {**QUIET, "rejected": [rejection("api", proxy="web/web-1", reason="bad")]}
        )
    unasked = {"checked": 0, "unchecked": 1, "note": "not checked: no envoy here"}
    with pytest.raises(InvalidInputError, match=r"no envoy here.*--no-validate"):
        dry_run.refuse_patches({**QUIET, "envoy": unasked})


def test_a_patch_is_not_applied_unless_a_zone_can_be_asked(
    mesh: Mesh, registry: str, tmp_path: Path
) -> None:
    file = tmp_path / "patch.yaml"
    file.write_text(PATCH)
    token = tmp_path / "token"
    token.write_text("a-token")
    env = {"CONSUL_HTTP_ADDR": registry}
    zone = ("--zone", "127.0.0.1:1", "--admin-token-file", str(token), "--bundle", str(token))
    result = mesh("apply", "-f", str(file), *zone, env=env)
    assert result.exit_code == 3
    assert "MeshProxyPatch patch cannot be validated, and nothing was applied" in result.output
    assert "--no-validate" in result.output
    assert json.loads(mesh("get", "-o", "json", env=env).output) == []
    assert mesh("apply", "-f", str(file), "--no-validate", env=env).exit_code == 0
    # Nothing changes any more, so nobody need be asked.
    assert "unchanged" in mesh("apply", "-f", str(file), *zone, env=env).output
