"""The units are valid, confined, and start what there is to start."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mesh.agent import drain
from mesh.config.proxy import ProxySettings

UNITS: Final = Path(__file__).parents[2] / "systemd"
ZONE: Final = "mesh-zone.service"
PROXY: Final = "mesh-proxy@.service"
RATELIMIT: Final = "mesh-ratelimit.service"
ALL: Final = (ZONE, PROXY, RATELIMIT)
PROGRAM: Final = "/usr/local/bin/mesh"
EXPOSURE: Final = 2.0
"""What `systemd-analyze security` may find at most; it calls up to 2 "OK", and 9.6 "UNSAFE"."""

MESH: Final = "import sys; from mesh.cli.main import main; sys.exit(main())"
PROXY_SETTINGS: Final = """
service: web
zone_api: [zone.example:5678]
app: 127.0.0.1:8080
registration: none
"""
ZONE_SETTINGS: Final = """
zone: dc1
"""
RATELIMIT_SETTINGS: Final = """
[redis]
url = "redis://redis.example"
"""


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("systemd-analyze")
    assert binary is not None, "install systemd: its systemd-analyze judges the units"
    return subprocess.run(
        [binary, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def service(unit: str) -> dict[str, str]:
    """Return a unit's service section; of a setting that is repeated, the last."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents
    parser.read(UNITS / unit)
    return dict(parser["Service"])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the units of a host that has the program."""
    program = tmp_path / "mesh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in ALL:
        text = (UNITS / unit).read_text()
        (tmp_path / unit).write_text(text.replace(PROGRAM, str(program)))
    return tmp_path


@pytest.mark.parametrize("unit", ALL)
def test_systemd_finds_nothing_wrong(installed: Path, unit: str) -> None:
    checked = analyze("verify", "--man=no", f"./{unit}", cwd=installed)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", ALL)
def test_a_unit_is_confined(installed: Path, unit: str) -> None:
    threshold = f"--threshold={EXPOSURE * 10:.0f}"
    checked = analyze("security", "--offline=true", threshold, f"./{unit}", cwd=installed)
    assert checked.returncode == 0, checked.stdout


def test_envoy_survives_its_agent_and_has_time_to_drain() -> None:
    unit = service(PROXY)
    assert unit["KillMode"] == "process"
    assert unit["Restart"] == "always"
    default = ProxySettings.model_fields["drain"].default.total_seconds()
    assert float(unit["TimeoutStopSec"]) > sum(step.limit for step in drain.plan(default))


def command(unit: str, tmp_path: Path) -> list[str]:
    """Return what a unit starts, its specifiers resolved below ``tmp_path``."""
    line = service(unit)["ExecStart"]
    for name, value in (
        ("%i", "web"),
        ("%S", "/var/lib"),
        ("${CREDENTIALS_DIRECTORY}", str(tmp_path)),
        ("/etc/mesh", str(tmp_path)),
    ):
        line = line.replace(name, value)
    program, *arguments = shlex.split(line)
    assert program == PROGRAM
    return [sys.executable, "-c", MESH, *arguments, "--check-config"]


@pytest.mark.parametrize(
    ("unit", "file", "settings"),
    [
        (PROXY, "proxy-web.yaml", PROXY_SETTINGS),
        (ZONE, "zone.yaml", ZONE_SETTINGS),
        (RATELIMIT, "ratelimit.toml", RATELIMIT_SETTINGS),
    ],
)
def test_what_it_starts_is_understood(tmp_path: Path, unit: str, file: str, settings: str) -> None:
    (tmp_path / file).write_text(settings)
    checked = subprocess.run(
        command(unit, tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
