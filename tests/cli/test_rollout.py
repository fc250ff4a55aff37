"""``mesh rollout`` and what ``mesh delete`` does to rollouts, against the embedded registry."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mesh.policies.rollouts.figures import Figures
from mesh.policies.rollouts.progress import Observation, advance, begin
from mesh.policies.rollouts.state import PREFIX, Phase, State, decode, encode
from mesh.policies.rollouts.wishes import Wish, fulfil
from tests.cli.conftest import Mesh, put
from tests.policies.rollouts.documents import BAD, GOOD, LATER, NOW, spec

DOCUMENT = {
    "type": "MeshRollout",
    "name": "api-v2",
    "spec": {
        "service": "api",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v2"},
        "steps": [{"weight": 5, "hold": "1m"}, {"weight": 50, "hold": "1m"}],
    },
}
SUBSETS = {version: {"Filter": f"Service.Meta.version == {version}"} for version in ("v1", "v2")}
BEGUN = begin(spec(), 1, NOW)
JUDGED = advance(spec(), 1, BEGUN, Observation(GOOD, GOOD, 3, 7), NOW + LATER)
PROMOTED = fulfil(Wish.PROMOTE, JUDGED, NOW + LATER)
Write = Callable[[State | bytes], None]


def kv(url: str, method: str, body: bytes = b"") -> bytes:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request(method, f"/v1/kv/{PREFIX}api-v2?raw", body)
        return connection.getresponse().read()
    finally:
        connection.close()


def resolve_to(url: str, default: str) -> None:
    entry = {"Kind": "service-resolver", "Name": "api", "DefaultSubset": default}
    put(url, "/v1/config", {**entry, "Subsets": SUBSETS})


@pytest.fixture
def run(mesh: Mesh, registry: str, tmp_path: Path) -> Mesh:
    """The command, where the rollout's document stands and has not begun."""
    resolve_to(registry, "v1")
    (tmp_path / "rollout.json").write_text(json.dumps(DOCUMENT))

    def command(*arguments: str, **more: Any) -> Any:
        return mesh(*arguments, env={"CONSUL_HTTP_ADDR": registry}, **more)

    assert command("apply", "-f", str(tmp_path / "rollout.json")).exit_code == 0
    return command


@pytest.fixture
def write(registry: str) -> Write:
    """Writes the state as a zone would."""
    return lambda state: (
        kv(registry, "PUT", state if isinstance(state, bytes) else encode(state)),
        None,
    )[1]


def stands(registry: str) -> State:
    return decode(kv(registry, "GET"), "api-v2")


def test_a_rollout_that_has_not_begun(run: Mesh) -> None:
    assert "no zone has taken it up yet" in run("rollout", "status").output
    assert json.loads(run("rollout", "status", "-o", "json").output) == [
        {
            "name": "api-v2",
            "phase": None,
            "steps": [{"weight": 5.0, "hold": 60.0}, {"weight": 50.0, "hold": 60.0}],
        }
    ]
    refused = run("rollout", "pause", "api-v2")
    assert (refused.exit_code, "has not begun" in refused.output) == (2, True)


def test_what_is_not_there(run: Mesh) -> None:
    assert run("rollout", "status", "other").exit_code == 1
    refused = run("rollout", "abort", "other")
    assert (refused.exit_code, "there is no rollout other" in refused.output) == (2, True)


def test_status_shows_the_numbers_and_the_history(run: Mesh, write: Write) -> None:
    write(JUDGED)
    table = run("rollout", "status", "api-v2").output
    assert "1/2" in table
    assert "100% of 100" in table
    assert "begins with document v1" in table
    assert "Measured at 3 of 7 proxies that call it." in table
    assert "mesh rollout pause api-v2" in table
    found = json.loads(run("rollout", "status", "api-v2", "-o", "json").output)
    assert (found["phase"], found["step"], found["weight"]) == ("Progressing", 1, 5)
    assert found["observed"]["proxies"] == 3
    assert found["observed"]["success_rate"] == 100


def test_what_a_person_asks_is_written(run: Mesh, write: Write, registry: str) -> None:
    write(JUDGED)
    for wish, phase, weight in (
        ("pause", Phase.PAUSED, 5),
        ("pause", Phase.PAUSED, 5),
        ("resume", Phase.PROGRESSING, 5),
        ("promote", Phase.PROMOTED, 100),
        ("abort", Phase.ABORTED, 0),
    ):
        result = run("rollout", wish, "api-v2")
        assert result.exit_code == 0
        assert f"rollout api-v2: {phase}, {weight}% to v2.api" in result.output
        assert (stands(registry).phase, stands(registry).weight) == (phase, weight)
    refused = run("rollout", "resume", "api-v2")
    assert (refused.exit_code, "mesh rollout restart" in refused.output) == (2, True)
    assert run("rollout", "restart", "api-v2").exit_code == 0
    assert stands(registry).shape == ""


def test_check_says_no_when_it_was_rolled_back(run: Mesh, write: Write) -> None:
    write(JUDGED)
    assert run("rollout", "status", "--check").exit_code == 0
    write(advance(spec(), 1, JUDGED, Observation(BAD), NOW + 2 * LATER))
    assert run("rollout", "status").exit_code == 0
    result = run("rollout", "status", "api-v2", "--check")
    assert (result.exit_code, "RolledBack" in result.output) == (1, True)


def test_watch_ends_when_the_rollout_has(run: Mesh, write: Write) -> None:
    write(PROMOTED)
    result = run("rollout", "status", "--watch", "--check")
    assert (result.exit_code, len(result.output.splitlines())) == (0, 1)
    assert "Promoted" in result.output
    line = run("rollout", "status", "-w", "-o", "json").output
    assert json.loads(line)["phase"] == "Promoted"


def test_a_state_that_cannot_be_read_is_warned_of(run: Mesh, write: Write) -> None:
    write(b"{}")
    assert "holds no state of a rollout" in run("rollout", "status").output


def test_an_unfinished_rollout_is_not_deleted_unless_forced(
    run: Mesh, write: Write, registry: str
) -> None:
    write(JUDGED)
    refused = run("delete", "rollout", "api-v2")
    assert refused.exit_code == 2
    assert "mesh rollout abort api-v2" in refused.output
    assert "api-v2" in run("get", "rollout").output
    assert run("delete", "rollout", "api-v2", "--force").exit_code == 0
    assert kv(registry, "GET") == b""
    assert "There is no rollout." in run("rollout", "status").output


def test_a_promoted_rollout_is_deleted_when_its_canary_is_the_default(
    run: Mesh, write: Write, registry: str
) -> None:
    write(PROMOTED)
    refused = run("delete", "rollout", "api-v2")
    assert refused.exit_code == 2
    assert "without it they go back to v1.api" in refused.output
    resolve_to(registry, "v2")
    assert run("delete", "rollout", "api-v2").exit_code == 0
    assert kv(registry, "GET") == b""


def test_one_that_was_rolled_back_is_deleted(run: Mesh, write: Write) -> None:
    write(advance(spec(), 1, BEGUN, Observation(Figures(100, 100)), NOW + timedelta(hours=1)))
    assert run("delete", "rollout", "api-v2").exit_code == 0
