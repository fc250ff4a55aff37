"""How an Envoy is found, started and recognised."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mesh.agent import envoy_process
from mesh.agent.envoy_process import PLACES, find_envoy
from mesh.agent.errors import EnvoyMissingError
from mesh.agent.settings import AgentSettings
from tests.agent.supervised import BINARY, Place


def test_a_missing_envoy_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(EnvoyMissingError, match="leave it out"):
        find_envoy(tmp_path / "envoy")


def test_how_long_a_stop_may_wait_is_not_envoys_business(settings: AgentSettings) -> None:
    lines = [
        envoy_process.command(BINARY, "a", dataclasses.replace(settings, drain_seconds=seconds))
        for seconds in (1.0, 600.0)
    ]
    assert lines[0] == lines[1]


def test_nothing_secret_is_an_argument(settings: AgentSettings) -> None:
    line = " ".join(envoy_process.command(BINARY, "a", settings))
    assert settings.proof_file.read_text() not in line
    assert "join" not in line


async def test_a_run_file_of_a_reused_process_id_deceives_nobody(place: Place) -> None:
    run = {"pid": 1, "started": 1, "role": "live", "digest": ""}
    place.state.write(envoy_process.run_file(PLACES[0]), json.dumps(run))
    assert await envoy_process.adopt(PLACES[0], place.state) is None
