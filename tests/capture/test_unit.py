"""The unit loads the table before the network is up, with the one power that this needs."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

UNIT: Final = Path(__file__).parents[2] / "systemd" / "mesh-capture.service"
EXPOSURE: Final = "20"
"""Tenths of what `systemd-analyze security` may find."""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the unit, of a host that has the program."""
    program = tmp_path / "mesh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("/usr/local/bin/mesh", str(program)))
    return tmp_path


@pytest.mark.parametrize(
    "words", [("verify", "--man=no"), ("security", "--offline=true", f"--threshold={EXPOSURE}")]
)
def test_systemd_has_nothing_against_it(installed: Path, words: tuple[str, ...]) -> None:
    binary = shutil.which("systemd-analyze")
    assert binary is not None, "install systemd: its systemd-analyze judges the unit"
    ran = subprocess.run(
        [binary, *words, f"./{UNIT.name}"],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


def test_it_comes_before_the_network_and_stays() -> None:
    unit = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents
    text = UNIT.read_text()
    unit.read_string(text)
    assert "Before=network-pre.target" in text
    assert "Wants=network-pre.target" in text
    assert unit["Service"]["Type"] == "oneshot"
    assert unit["Service"]["RemainAfterExit"] == "yes"
    assert unit["Service"]["CapabilityBoundingSet"] == "CAP_NET_ADMIN"
    assert "--no-rollback" in unit["Service"]["ExecStart"]
    assert "ExecStop" not in text
