"""What keeps calls from travelling as somebody said they should, by who is to blame.  Pure.

Beside what a source cannot read there is what can be read and makes no sense together: entries
that contradict one another, and parts of a configuration that cannot be made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from mesh.controlplane.api.model import Problem, ViolationBody
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.kinds.proxy_patch import PatchError
from mesh.render.parts import Part
from mesh.routing.chain import ChainError, Fault
from mesh.routing.edge_findings import Finding
from mesh.sources.consul import problems as sources

_ROUTES = {
    True: "calls go on as they last could be routed",
    False: "calls are refused, with 503 where they are HTTP",
}
_UNNAMED = "route"
"""The kind of a problem that no entry is to blame for."""
_BROKEN = "proxy configuration"
_REST = "everything else is served"
_LAST = "what the proxies have stands"


def unread(found: Iterable[sources.Problem]) -> Iterator[Problem]:
    """Yield what cannot be read."""
    for each in found:
        yield _problem(each.kind, each.name, each.violations, each.standing)


def unroutable(
    errors: Mapping[str, ChainError], standing: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Yield why services cannot be routed to; those ``standing`` go on as they were."""
    blamed: defaultdict[tuple[Fault, bool], list[str]] = defaultdict(list)
    for service, error in sorted(errors.items()):
        for fault in error.faults:
            blamed[(fault, service in standing)].append(service)
    for (fault, stands), services in blamed.items():
        kind, _, name = fault.entry.partition(" ")
        yield _problem(
            kind or _UNNAMED,
            name or ", ".join(services),
            (fault.violation,),
            _ROUTES[stands],
            services,
        )


def broken(found: Mapping[Part | str, Exception]) -> Iterator[Problem]:
    """Yield the parts that could not be made anew."""
    said: dict[tuple[str, tuple[Violation, ...]], None] = {}
    for part, error in found.items():
        name = part if isinstance(part, str) else type(part).__name__
        violations: tuple[Violation, ...]
        if isinstance(error, PatchError):
            name, violations = error.policy, (Violation(error.resource, error.reason),)
        elif isinstance(error, InvalidInputError):
            violations = error.violations
        else:
            violations = (Violation("", f"{type(error).__name__}: {error}"),)
        said[(name, violations)] = None
    for name, violations in said:
        kind, _, rest = name.partition(" ")
        if kind.startswith("Mesh") and rest:
            yield _problem(kind, rest, violations, _LAST)
        else:
            yield _problem(_BROKEN, name, violations, _LAST)


def unserved(found: Iterable[Finding]) -> Iterator[Problem]:
    """Yield what edge gateways cannot serve as it is said."""
    for label, violation in found:
        kind, _, name = label.partition(" ")
        yield _problem(kind, name, (violation,), _REST)


def _problem(
    kind: str,
    name: str,
    violations: tuple[Violation, ...],
    standing: str,
    services: Iterable[str] = (),
) -> Problem:
    return Problem(
        kind=kind,
        name=name,
        message="; ".join(map(str, violations)) + f" ({standing})",
        violations=[ViolationBody(path=one.path, message=one.message) for one in violations],
        standing=standing,
        services=list(services),
    )
