"""An instance whose agent ended without a word is taken out of the registry by its user."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mesh.vm import leaving
from mesh.vm.steps import Deregister

STEP = Deregister("web", Path("/var/lib/mesh/web/agent.json"))


def silent(_: str) -> None:
    """Tell nobody."""


def test_a_host_without_the_user_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "USER", "nobodys-user")
    (note,) = leaving.carry_out((STEP,), silent)
    assert "web may still be registered: there is no user nobodys-user" in note


def test_the_proxies_user_is_given_none_of_roots_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def run(words: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.update(options)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    monkeypatch.setattr(subprocess, "run", run)
    assert leaving.carry_out((STEP,), silent) == ()
    assert asked["env"] == {}
    assert asked["user"] == "mesh"
