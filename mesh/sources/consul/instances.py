"""Consul's health answers as instances.  Pure.

An agent of Consul that restarts calls critical whatever it has yet to check for the first time;
such a check has no output.  That is no news of an instance: it stays what it was known as.  Who
never was known waits for the check, unless nobody else with its tags and meta could answer a call.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Hashable, Iterable, Mapping

from mesh.clients.consul import HealthCheck, HealthEntry
from mesh.model.hostport import MAX_PORT
from mesh.model.services import NO_META, Health, Instance, Registration
from mesh.model.violations import Violation
from mesh.sources.consul.problems import Problem

KIND = "instance"

_DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_SEVERITY = {"passing": 0, "warning": 1}
_SPEAKING = frozenset({"http", "tcp", "grpc"})
"""Types of checks that say why they fail."""
_WORST = (Health.PASSING, Health.WARNING, Health.CRITICAL)


def parse_instances(
    service: str,
    entries: Iterable[HealthEntry],
    known: Iterable[Instance] = (),
    *,
    named: bool = False,
) -> tuple[tuple[Instance, ...], tuple[Problem, ...]]:
    """Return the instances of ``service`` in a stable order, and what is wrong with others.

    An instance that cannot be dialled as registered keeps its version in ``known``, if any.  With
    ``named`` an address may be a DNS name.
    """
    before = {(instance.node, instance.id): instance for instance in known}
    found: dict[tuple[str, str], Instance] = {}
    waiting: dict[tuple[str, str], Instance] = {}
    problems: list[Problem] = []
    for entry in entries:
        key = (entry.node.node, entry.service.id)
        violations = _violations(entry, named=named)
        if not violations:
            checks = entry.checks or ()
            health = worst(check for check in checks if not _is_to_come(check))
            if any(map(_is_to_come, checks)):
                if key in before:
                    health = max(health, before[key].health, key=_WORST.index)
                else:
                    waiting[key] = _instance(entry, health)
                    health = Health.CRITICAL
            found[key] = _instance(entry, health)
            continue
        name = f"{service}: {entry.service.id} on {entry.node.node}"
        if key in before:
            found[key] = before[key]
            problems.append(Problem(KIND, name, violations))
        else:
            problems.append(Problem(KIND, name, violations, "it is left out"))
    if waiting:
        answering = {_version(one) for one in found.values() if one.health is not Health.CRITICAL}
        found |= {key: one for key, one in waiting.items() if _version(one) not in answering}
    return tuple(found[key] for key in sorted(found)), tuple(problems)


def worst(checks: Iterable[HealthCheck]) -> Health:
    """Return the worst of ``checks``; a status that Consul does not have counts as critical."""
    return _WORST[max((_SEVERITY.get(check.status, 2) for check in checks), default=0)]


def _version(instance: Instance) -> Hashable:
    """Return what subsets tell instances apart by."""
    return (instance.tags, frozenset(instance.meta.items()))


def _is_to_come(check: HealthCheck) -> bool:
    """Whether Consul has not made ``check`` since its agent started."""
    if check.status in _SEVERITY:
        return False
    if check.type == "alias":
        # It repeats the output of the check that it stands for.
        return not check.output or check.output.rstrip().endswith(" failing:")
    return check.type in _SPEAKING and not check.output


def _address(entry: HealthEntry) -> str:
    return entry.service.address or entry.node.address


def _violations(entry: HealthEntry, *, named: bool) -> tuple[Violation, ...]:
    found: list[Violation] = []
    address = _address(entry)
    try:
        ipaddress.ip_address(address)
    except ValueError:
        if not named:
            words = f"{address!r} is not an IP address; register the sidecar with one"
            found.append(Violation("Service.Address", words))
        elif not _DNS_NAME.fullmatch(address):
            words = f"{address!r} is neither an IP address nor a DNS name"
            found.append(Violation("Service.Address", words))
    if not 0 < entry.service.port <= MAX_PORT:
        words = f"{entry.service.port} is not a port, 1 to {MAX_PORT}"
        found.append(Violation("Service.Port", words))
    return tuple(found)


def _instance(entry: HealthEntry, health: Health) -> Instance:
    service = entry.service
    passing, warning = 1, 1
    if service.weights is not None:
        passing, warning = service.weights.passing, service.weights.warning
    return Instance(
        id=service.id,
        node=entry.node.node,
        address=_address(entry),
        port=service.port,
        health=health,
        weight=warning if health is Health.WARNING else passing,
        tags=service.tags or (),
        meta=_meta(service.meta),
        node_meta=_meta(entry.node.meta),
        registration=Registration(
            # One text for all instances of a service.
            name=sys.intern(service.service),
            kind=sys.intern(service.kind),
            address=service.address,
            node_address=entry.node.address,
            passing=passing,
            warning=warning,
        ),
    )


def _meta(meta: Mapping[str, str] | None) -> Mapping[str, str]:
    return meta or NO_META
