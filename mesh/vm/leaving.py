"""Out of the mesh: first nobody is sent here, then the proxy ends, then everything of it goes.

:mod:`mesh.vm.departure` has the steps.  Nothing is taken back if one fails: what is gone may stay
gone, and the next try goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mesh.agent.binding import BINDING, parsed
from mesh.vm import changes, host, systemd
from mesh.vm.departure import AGENT_SETTINGS, Facts, LeaveStep
from mesh.vm.errors import VmError
from mesh.vm.layout import (
    CAPTURE_UNIT,
    OTHER_SETTINGS,
    OTHER_UNITS,
    TARGET,
    TEMPLATE,
    USER,
    Layout,
    service_of,
    unit,
)
from mesh.vm.steps import Deregister, Remove, RemoveTable, RemoveUser, Stop, Systemctl, WriteFile

_PATIENCE: Final = 30.0


def look(layout: Layout) -> Facts:
    """Look at this host.

    Raises:
        VmError: this user may not look.

    """
    with host.looked_at_by_root():
        settings = host.proxies(layout)
        units = systemd.proxy_units()
        services = {
            *settings,
            *map(service_of, units),
            *(each for each in _names(layout.home) if _is_state(layout.state(each))),
        }
        enabled, active = systemd.states((*map(unit, services), TARGET, CAPTURE_UNIT))
        others = any((layout.etc / each).exists() for each in OTHER_SETTINGS)
        others = others or any((layout.units / each).exists() for each in OTHER_UNITS)
        return Facts(
            services=frozenset(services),
            paths=frozenset(each for each in _paths(layout, services) if _is_there(each)),
            enrolled=frozenset(
                each
                for each in services
                if (layout.state(each) / AGENT_SETTINGS).exists()
                and not host.foreign(layout.state(each))
            ),
            settings=settings,
            capture=host.read_settings(layout.capture),
            running=frozenset(each for each in services if systemd.runs(unit(each))),
            loaded=enabled | active,
            has_user=host.has_user(),
            record=_record(layout.record),
            others=others,
        )


def carry_out(steps: tuple[LeaveStep, ...], tell: Callable[[str], None]) -> tuple[str, ...]:
    """Carry out the steps; return what a person should know.

    Raises:
        VmError: one failed; the same command goes on from there.

    """
    notes = []
    for step in steps:
        tell(str(step))
        try:
            note = _do(step)
        except OSError as error:
            raise VmError(f"{step} failed: {error}", "Run it again when that is mended.") from error
        if note:
            notes.append(note)
    return tuple(notes)


def _do(step: LeaveStep) -> str:
    match step:
        case Stop():
            systemd.stop(step.unit)
        case Systemctl():
            systemd.systemctl(*step.words)
        case Remove():
            return _remove(step)
        case RemoveTable():
            changes.remove_table()
        case RemoveUser():
            changes.remove_user()
        case WriteFile():
            changes.write(step.path, step.content, step.group, step.mode)
        case Deregister():
            return _deregister(step)
    return ""


def _remove(step: Remove) -> str:
    if step.path.is_dir() and not step.path.is_symlink():
        if not step.if_empty:
            shutil.rmtree(step.path)
        elif left := _names(step.path):
            return f"{step.path} stays, for it holds what others put there: {', '.join(left)}"
        else:
            step.path.rmdir()
    else:
        step.path.unlink(missing_ok=True)
    return ""


def _deregister(step: Deregister) -> str:
    """Have the instance taken out as its own user, if its agent has not done so at its end."""
    words = (sys.executable, "-m", "mesh.agent", "--settings", str(step.settings), "--deregister")
    try:
        # Our own interpreter and module, on a file of ours.
        ran = subprocess.run(  # noqa: S603 - no shell
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            user=USER,
            group=USER,
            extra_groups=(),
            cwd="/",
            env={},  # tokens of root's are not the proxies' to read
        )
        reason = "" if ran.returncode == 0 else ran.stderr.strip()
    except KeyError:
        reason = f"there is no user {USER} to do it"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if not reason:
        return ""
    return (
        f"{step.service} may still be registered: {reason}\n"
        "A zone forgets it after half a minute; a Consul agent when it is told to: "
        "`consul services deregister -id <instance>`, and that of its sidecar."
    )


def _paths(layout: Layout, services: set[str]) -> Iterator[Path]:
    for each in services:
        yield from (layout.settings(each), layout.token(each), layout.state(each))
    yield from (layout.units / each for each in (TEMPLATE, TARGET, CAPTURE_UNIT))
    yield from (
        layout.backoff,
        layout.capture,
        layout.record,
        layout.program,
        layout.etc,
        layout.home,
    )


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(each.name for each in directory.iterdir())
    return []


def _record(file: Path) -> dict[str, bool]:
    try:
        found = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): bool(value) for name, value in found.items()}


def _is_state(directory: Path) -> bool:
    """Whether it is what a proxy of the service of that name remembers; a gateway's is not."""
    file = directory / BINDING
    return file.exists() and parsed(file.read_bytes(), file).service == directory.name
