"""The policies that would stand, and what is wrong with them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model.entries import Entries
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.registry import KINDS
from mesh.routing.validate import Finding, violations

Policies = Mapping[tuple[str, str], Document]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What would stand; ``findings`` say what keeps it from being applied."""

    policies: Policies
    findings: tuple[Finding, ...]


def wanted(
    entries: Entries,
    standing: Policies,
    applied: Sequence[Mapping[str, Any]],
    deleted: Iterable[tuple[str, str]],
) -> Wanted:
    """Return what stands once documents are ``applied`` to those ``standing``, others ``deleted``.

    What is wrong already with documents that are not applied stands in nobody's way.
    """
    policies = dict(standing)
    for key in deleted:
        policies.pop(key, None)
    findings: list[Finding] = []
    given: dict[str, Document] = {}
    for place, raw in enumerate(applied):
        try:
            document = parse(raw, KINDS)
        except InvalidInputError as error:
            label = error.subject if error.subject != "policy" else f"document {place + 1}"
            findings += ((label, violation) for violation in error.violations)
            continue
        if document.mesh != DEFAULT_MESH:
            wrong = f"{document.mesh!r} is no mesh here: leave it out, or write {DEFAULT_MESH}"
            findings.append((document.label, Violation("mesh", wrong)))
        if document.label in given:
            findings.append((document.label, Violation("name", "is given more than once")))
        given[document.label] = policies[document.key] = document
    if not findings:
        known = set(violations(entries, standing))
        found = violations(entries, policies)
        findings += (each for each in found if each[0] in given or each not in known)
    return Wanted(policies, tuple(findings))
