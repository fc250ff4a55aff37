"""The steps by which a service, or the last of them, leaves a host: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh.vm import documents
from mesh.vm.layout import CAPTURE_UNIT, TARGET, TEMPLATE, USER, Layout, unit
from mesh.vm.steps import Deregister, Remove, RemoveTable, RemoveUser, Stop, Systemctl, WriteFile

AGENT_SETTINGS: Final = "agent.json"
_SETTINGS: Final = 0o640

LeaveStep = Stop | RemoveTable | Systemctl | Remove | RemoveUser | Deregister | WriteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is there.

    Attributes:
        services: all that have settings, state or a unit here.
        paths: of all that may have to go, those that are there.
        enrolled: services whose state is this machine's.
        settings: the proxies' settings, by service.
        capture: the settings of the capture.
        running: services whose agent runs, and deregisters at its end.
        loaded: units that run or start with the host.
        has_user: whether the proxies' user is.
        record: what the first join made that others may have made.
        others: whether other parts of the mesh are on this host.

    """

    services: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()
    enrolled: frozenset[str] = frozenset()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    capture: Mapping[str, Any] = field(default_factory=dict)
    running: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    has_user: bool = False
    record: Mapping[str, bool] = field(default_factory=dict)
    others: bool = False


def plan(service: str, facts: Facts, layout: Layout) -> tuple[LeaveStep, ...]:
    """Return the steps by which ``service`` leaves, or every service if it is empty."""
    if service and service not in facts.services:
        return ()
    leaving = [service] if service else sorted(facts.services)
    steps: list[LeaveStep] = [*_uncapture(leaving, facts, layout)]
    heir, content = documents.heir(facts.settings, leaving)
    if heir:
        steps.append(WriteFile(layout.settings(heir), content, USER, _SETTINGS, exists=True))
    for each in leaving:
        own = unit(each)
        if own in facts.loaded:
            # A stop drains and deregisters.
            steps += [Stop(own), Systemctl(("disable", "--quiet", own))]
        if each in facts.enrolled - facts.running:
            steps.append(Deregister(each, layout.state(each) / AGENT_SETTINGS))
        places = (layout.settings(each), layout.token(each), layout.state(each))
        steps += [Remove(path) for path in places if path in facts.paths]
    if heir:
        # Only now is the port of the names free.
        steps.append(Systemctl(("restart", unit(heir))))
    if not facts.services - set(leaving):
        steps += _last(facts, layout)
    return tuple(steps)


def _uncapture(leaving: list[str], facts: Facts, layout: Layout) -> Iterator[LeaveStep]:
    entries = list(facts.capture.get("proxies") or ())
    rest = [each for each in entries if each.get("service") not in leaving]
    is_left_over = not entries and (CAPTURE_UNIT in facts.loaded or layout.capture in facts.paths)
    if len(rest) == len(entries) and not (leaving and is_left_over):
        return
    if rest:
        content = documents.capture({**facts.capture, "proxies": rest}, "", entry=None)
        yield WriteFile(layout.capture, content or "", USER, _SETTINGS, exists=True)
        yield Systemctl(("restart", CAPTURE_UNIT))
        return
    if CAPTURE_UNIT in facts.loaded:
        yield Systemctl(("disable", "--quiet", "--now", CAPTURE_UNIT))
    if layout.capture in facts.paths:
        yield Remove(layout.capture)
    yield RemoveTable()


def _last(facts: Facts, layout: Layout) -> Iterator[LeaveStep]:
    """Yield what goes with the last service of the host."""
    shared = () if facts.others else (TARGET, layout.backoff.relative_to(layout.units))
    if TARGET in facts.loaded and not facts.others:
        yield Systemctl(("disable", "--quiet", "--now", TARGET))
    own = [layout.units / each for each in (TEMPLATE, CAPTURE_UNIT, *shared)]
    units = [each for each in own if each in facts.paths]
    yield from map(Remove, units)
    if layout.backoff in units:
        yield Remove(layout.backoff.parent, if_empty=True)
    if units:
        yield Systemctl(("daemon-reload",))
    yield from _shared(facts, layout)


def _shared(facts: Facts, layout: Layout) -> Iterator[LeaveStep]:
    """Yield what goes of what other parts of the mesh have too."""
    if facts.others:
        if layout.record in facts.paths and not any(facts.record.values()):
            yield Remove(layout.record)
        return
    if facts.record.get("program") and layout.program in facts.paths:
        yield Remove(layout.program)
    if layout.record in facts.paths:
        yield Remove(layout.record)
    for each in (layout.etc, layout.home):
        if each in facts.paths:
            yield Remove(each, if_empty=True)
    if facts.has_user and facts.record.get("user", True):
        yield RemoveUser()
