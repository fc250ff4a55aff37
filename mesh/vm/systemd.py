"""What is asked of systemd, by its own commands."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mesh.vm.errors import VmError

_RUNNING: Final = frozenset({"active", "activating", "reloading"})
_TIMEOUT: Final = 180.0
"""Seconds; a stop waits for a drain."""
_INSTANCE: Final = re.compile(r"mesh-proxy@[^.]+\.service")
_MOST: Final = "500"


def is_here() -> bool:
    """Whether systemd is this host's init."""
    return shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()


def systemctl(*words: str) -> str:
    """Run ``systemctl``; return what it prints.

    Raises:
        VmError: it failed.

    """
    return run("systemctl", *words)


def stop(unit: str) -> None:
    """Stop a unit, and end what it has left behind: an Envoy outlives an agent that was killed.

    Raises:
        VmError: it cannot be stopped.

    """
    systemctl("stop", unit)
    with contextlib.suppress(VmError):  # as a rule there is nothing left to end
        systemctl("kill", "--kill-who=all", "--signal=KILL", unit)


def run(*command: str) -> str:
    """Run a program of the system; return what it prints.

    Raises:
        VmError: it failed, or there is no such program.

    """
    try:
        # The words are our own, and names that were checked.
        ran = subprocess.run(  # noqa: S603 - no shell
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VmError(f"`{' '.join(command)}` did not run: {error}", "") from error
    if ran.returncode:
        said = ran.stderr.strip() or ran.stdout.strip() or f"exit code {ran.returncode}"
        raise VmError(f"`{' '.join(command)}` failed: {said}", "")
    return ran.stdout


def show(unit: str, names: Iterable[str]) -> Mapping[str, str]:
    """Return properties of a unit; one that is not there has them too."""
    said = systemctl("show", unit, *(f"--property={each}" for each in names))
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def states(units: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which of the units start with the host, and which run."""
    enabled, active = set(), set()
    for unit in units:
        found = show(unit, ("UnitFileState", "ActiveState"))
        if found.get("UnitFileState", "").startswith("enabled"):
            enabled.add(unit)
        if found.get("ActiveState") in _RUNNING:
            active.add(unit)
    return frozenset(enabled), frozenset(active)


def runs(unit: str) -> bool:
    """Whether a unit is up, and not only on its way there."""
    return show(unit, ("ActiveState",)).get("ActiveState") == "active"


def version() -> int:
    """Return the version of systemd; 0 if it does not tell."""
    found = re.match(r"systemd (\d+)", systemctl("--version"))
    return int(found[1]) if found else 0


def proxy_units() -> tuple[str, ...]:
    """Return every unit of a proxy that is loaded, or that starts with the host."""
    loaded = systemctl("list-units", "--all", "--plain", "--no-legend", "mesh-proxy@*.service")
    # With a pattern that nothing matches, this one fails.
    files = systemctl("list-unit-files", "--no-legend")
    names = {line.split()[0] for line in (loaded + files).splitlines() if line.split()}
    return tuple(sorted(each for each in names if _INSTANCE.fullmatch(each)))


def journal(unit: str, since: float) -> tuple[str, ...]:
    """Return what a unit wrote from the moment ``since`` (seconds since 1970) on, line by line."""
    said = run(
        *("journalctl", "--unit", unit, "--since", f"@{since:.3f}", "--lines", _MOST),
        *("--output", "json", "--no-pager"),
    )
    return tuple(_line(json.loads(line).get("MESSAGE")) for line in said.splitlines() if line)


def _line(message: object) -> str:
    # What is not text comes as a list of bytes.
    if isinstance(message, list):
        return bytes(message).decode(errors="replace")
    return str(message or "")
