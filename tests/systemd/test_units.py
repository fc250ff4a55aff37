"""The units are valid, confined, and start what there is to start."""

from __future__ import annotations

import configparser
import re
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
GATEWAY: Final = "mesh-gateway.service"
RATELIMIT: Final = "mesh-ratelimit.service"
TARGET: Final = "mesh.target"
SERVICES: Final = (ZONE, PROXY, GATEWAY, RATELIMIT)
ALL: Final = (*SERVICES, TARGET)
PROGRAM: Final = "/usr/local/bin/mesh"
EXPOSURE: Final = 2.0
"""What `systemd-analyze security` may find at most; it calls up to 2 "OK", and 9.6 "UNSAFE"."""
_EXPOSED: Final = re.compile(r"exposure level for \S+: (?P<level>[\d.]+)")

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
redis:
  url: redis://redis.example
"""
GATEWAY_SETTINGS: Final = """
role: zone-gateway
zone_api: [zone.example:5678]
registration: none
"""


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("systemd-analyze")
    assert binary is not None, "install systemd: its systemd-analyze judges the units"
    return subprocess.run(
        [binary, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def service(unit: str, section: str = "Service") -> dict[str, str]:
    """Return a section of a unit; of a setting that is repeated, the last."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents
    parser.read(UNITS / unit)
    return dict(parser[section])


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


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_is_confined(installed: Path, unit: str) -> None:
    threshold = f"--threshold={EXPOSURE * 10:.0f}"
    checked = analyze("security", "--offline=true", threshold, f"./{unit}", cwd=installed)
    assert checked.returncode == 0, checked.stdout
    found = _EXPOSED.search(checked.stdout)
    assert found is not None
    print(f"{unit}: exposure {found['level']}")  # noqa: T201 - a figure to be read
    assert float(found["level"]) <= EXPOSURE


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_starts_with_the_mesh_and_is_watched(unit: str) -> None:
    found = service(unit)
    assert found["Type"] == "notify"
    assert (found["Restart"], service(unit, "Unit")["StartLimitIntervalSec"]) == ("always", "0")
    assert float(found["WatchdogSec"]) > 0
    assert {"MemoryHigh", "MemoryMax", "TasksMax", "TimeoutStartSec"} <= found.keys()
    assert service(unit, "Unit")["PartOf"] == TARGET
    assert service(unit, "Install")["WantedBy"].split() == [TARGET, "multi-user.target"]


@pytest.mark.parametrize("unit", SERVICES)
def test_no_boot_waits_for_a_unit(unit: str) -> None:
    found = service(unit, "Unit")
    assert found["DefaultDependencies"] == "no"
    # What the default would have said, but for the order with targets.
    assert found["Requires"] == "sysinit.target"
    assert {"sysinit.target", "basic.target"} <= set(found["After"].split())
    assert found["Conflicts"] == found["Before"] == "shutdown.target"


@pytest.mark.parametrize("unit", [PROXY, GATEWAY])
def test_envoy_survives_its_agent_and_has_time_to_drain(unit: str) -> None:
    _outlived(service(unit))


def _outlived(unit: dict[str, str]) -> None:
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
        (GATEWAY, "gateway.yaml", GATEWAY_SETTINGS),
        (RATELIMIT, "ratelimit.yaml", RATELIMIT_SETTINGS),
    ],
)
def test_what_it_starts_is_understood(tmp_path: Path, unit: str, file: str, settings: str) -> None:
    (tmp_path / file).write_text(settings)
    checked = subprocess.run(
        command(unit, tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
