"""From what is wanted and what is there to the steps of a join: pure.

A host on which all is as wanted gets no step; that is what makes a second join change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mesh.vm import documents
from mesh.vm.errors import VmError
from mesh.vm.layout import BACKOFF, CAPTURE_UNIT, TARGET, TEMPLATE, USER, Layout, Ports, unit
from mesh.vm.request import Join
from mesh.vm.steps import (
    CaptureFollows,
    Expect,
    MakeDirectory,
    MakeLink,
    MakeUser,
    PutAway,
    Remove,
    RemoveTable,
    Restart,
    Start,
    Step,
    Stop,
    Systemctl,
    WriteFile,
)

_OURS: Final = 0o750
_SETTINGS: Final = 0o640
_SECRET: Final = 0o600
_UNHOMELY: Final = ("/home/", "/root/", "/tmp/", "/run/user/")  # noqa: S108 - where units cannot look
"""Where a unit's protection keeps the program from being found."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there."""

    content: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is there.

    Attributes:
        has_user: whether the proxies' user is.
        directories: those of the mesh's that are.
        files: those of the mesh's that are, by path.
        settings: the proxies' settings, by service.
        capture: the settings of the capture.
        units: the units that this version of the mesh brings, by name, with their text.
        enabled: units that start with the host.
        active: units that run.
        program: what ``mesh`` in the units' path is; None if nothing.
        prefix: the environment that this program runs in.
        foreign: by what the service's state is another machine's; empty if it is not.
        enrolled: whether the service has an identity here.
        knows_backoff: whether systemd can wait longer from restart to restart (254).

    """

    has_user: bool = False
    directories: frozenset[Path] = frozenset()
    files: Mapping[Path, Found] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    capture: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    active: frozenset[str] = frozenset()
    program: Path | None = None
    prefix: Path = Path("/opt/mesh/current")
    foreign: str = ""
    enrolled: bool = False
    knows_backoff: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a join, the service's ports, and what is captured once it is ready.

    ``later`` are the steps that wait for the proxy: nobody's connections are captured for a proxy
    that does not serve.
    """

    ports: Ports
    steps: tuple[Step, ...] = ()
    later: tuple[Step, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether all is as wanted."""
        return not self.steps and not self.later


def plan(join: Join, facts: Facts, layout: Layout, *, token: str = "") -> Plan:
    """Return what is to be done for ``join`` where ``facts`` hold.

    Args:
        join: what is wanted.
        facts: what is there.
        layout: the places.
        token: the join token, if one was given; an enrolled service needs none.

    Raises:
        InvalidInputError: the settings would not be valid.
        VmError: it cannot be done like this.

    """
    _check(join, facts, token)
    ports = documents.own_ports(facts.settings, join.service)
    files = [*_files(join, facts, layout, ports, token)]
    writes = [
        replace(each, exists=each.path in facts.files)
        for each in files
        if not _is_there(each, facts)
    ]
    directories = [
        MakeDirectory(layout.etc, USER, _OURS),
        MakeDirectory(layout.home),
    ]
    steps: list[Step] = []
    if not facts.has_user:
        steps.append(MakeUser())
    steps += [each for each in directories if each.path not in facts.directories]
    if facts.foreign:
        steps.append(Stop(unit(join.service)))
        steps.append(PutAway(layout.state(join.service), f"another machine's: {facts.foreign}"))
    if facts.foreign or layout.state(join.service) not in facts.directories:
        steps.append(Expect(layout.state(join.service)))
    if facts.program is None:
        steps.append(MakeLink(layout.program, facts.prefix / "bin/mesh"))
    made = {"user": not facts.has_user, "program": facts.program is None}
    is_first = not facts.settings or any(made.values())
    if is_first and layout.record not in facts.files:
        steps.append(WriteFile(layout.record, json.dumps(made) + "\n", mode=_SETTINGS))
    steps += writes
    if facts.knows_backoff and layout.backoff not in facts.files and BACKOFF in facts.units:
        if layout.backoff.parent not in facts.directories:
            steps.append(MakeDirectory(layout.backoff.parent))
        writes.append(WriteFile(layout.backoff, facts.units[BACKOFF]))
        steps.append(writes[-1])
    steps += _start(join, facts, changed=bool(writes or facts.foreign), units=_units(join, facts))
    later = (*_inherited(join, facts, layout), *_captured(join, facts, layout, ports))
    return Plan(ports, tuple(steps), later)


def unit_names(*, capture: bool, units: Mapping[str, str]) -> tuple[str, ...]:
    """Return the units that a host with services needs, of those that this version brings."""
    wanted = (TARGET, TEMPLATE, *((CAPTURE_UNIT,) if capture else ()))
    return tuple(each for each in wanted if each in units)


def _check(join: Join, facts: Facts, token: str) -> None:
    if (facts.foreign or not facts.enrolled) and not token:
        why = (
            f"the state of {join.service} on this host is another machine's ({facts.foreign})"
            if facts.foreign
            else f"this host is not enrolled as {join.service}"
        )
        raise VmError(
            f"{why}, and no token was given",
            f"Make one where the zone is administered, `mesh token create --service "
            f"{join.service} --out {join.service}.token`, and name it with --token-file.",
        )
    if TEMPLATE not in facts.units:
        raise VmError(
            f"the mesh in {facts.prefix} has no unit {TEMPLATE}",
            "Install it from its wheel, which brings the units (share/mesh/systemd).",
        )
    if join.capture is not None and CAPTURE_UNIT not in facts.units:
        raise VmError(
            f"the mesh in {facts.prefix} has no unit {CAPTURE_UNIT}",
            "Install a version that captures, or join without --capture.",
        )
    if facts.program is None and f"{facts.prefix}/".startswith(_UNHOMELY):
        raise VmError(
            f"the mesh is installed in {facts.prefix}, where no unit may look",
            "Install it below /opt/mesh, as in `python3 -m venv /opt/mesh/<version>`.",
        )
    _check_capture(join, facts)


def _check_capture(join: Join, facts: Facts) -> None:
    if join.capture is None or join.capture.users or join.capture.cgroups:
        return
    others = [
        each
        for each in documents.everybodys(facts.capture.get("proxies") or ())
        if each != join.service
    ]
    if others:
        raise VmError(
            f"{others[0]} captures everybody's connections on this host already",
            "Name the users of this one with --capture user:NAME.",
        )


def _files(
    join: Join, facts: Facts, layout: Layout, ports: Ports, token: str
) -> Iterator[WriteFile]:
    for name in unit_names(capture=join.capture is not None, units=facts.units):
        yield WriteFile(layout.units / name, facts.units[name])
    names = documents.answers_names(facts.settings, join.service)
    content = documents.proxy(join, ports, layout, answers_names=names)
    yield WriteFile(layout.settings(join.service), content, USER, _SETTINGS)
    # One that is enrolled has its proof, which is bound to its key; another token is no use to it.
    if token and (facts.foreign or not facts.enrolled):
        yield WriteFile(layout.token(join.service), f"{token}\n", mode=_SECRET)


def _is_there(wanted: WriteFile, facts: Facts) -> bool:
    found = facts.files.get(wanted.path)
    return found is not None and found == Found(wanted.content, wanted.group, wanted.mode)


def _units(join: Join, facts: Facts) -> tuple[str, ...]:
    target = (TARGET,) if TARGET in facts.units else ()
    return (*target, unit(join.service))


def _start(join: Join, facts: Facts, *, changed: bool, units: tuple[str, ...]) -> Iterator[Step]:
    if changed:
        yield Systemctl(("daemon-reload",))
    yield from (
        Systemctl(("enable", "--quiet", each), ("disable", "--quiet", each))
        for each in units
        if each not in facts.enabled
    )
    own = unit(join.service)
    # Not waited for here: the proxy tells better than its unit what it waits for.
    if own not in facts.active or facts.foreign:
        yield Start(own)
    elif changed:
        yield Restart(own)
    if TARGET in units and TARGET not in facts.active:
        yield Start(TARGET)


def _inherited(join: Join, facts: Facts, layout: Layout) -> Iterator[Step]:
    """Yield how another answers names if this one does no more; only now is their port free."""
    if join.capture is not None:
        return
    name, content = documents.heir(facts.settings, (join.service,))
    if name:
        yield WriteFile(layout.settings(name), content, USER, _SETTINGS, exists=True)
        yield Restart(unit(name))


def _captured(join: Join, facts: Facts, layout: Layout, ports: Ports) -> Iterator[Step]:
    was = any(each.get("service") == join.service for each in facts.capture.get("proxies") or ())
    if join.capture is None and not was:
        return
    entry = documents.captured(join, ports)
    content = documents.capture(
        facts.capture, join.service, entry=entry, trust_domain=join.trust_domain
    )
    if content is None:
        yield CaptureFollows(layout.capture)
        yield Systemctl(
            ("disable", "--quiet", "--now", CAPTURE_UNIT), ("enable", "--quiet", CAPTURE_UNIT)
        )
        yield Remove(layout.capture)
        yield RemoveTable()
        return
    wanted = WriteFile(
        layout.capture, content, USER, _SETTINGS, exists=layout.capture in facts.files
    )
    changed = not _is_there(wanted, facts)
    if not changed and CAPTURE_UNIT in facts.active & facts.enabled:
        return
    yield CaptureFollows(layout.capture)
    if changed:
        yield wanted
    if CAPTURE_UNIT not in facts.enabled:
        yield Systemctl(("enable", "--quiet", CAPTURE_UNIT), ("disable", "--quiet", CAPTURE_UNIT))
    yield Systemctl(("restart", CAPTURE_UNIT))
