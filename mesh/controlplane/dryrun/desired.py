"""The policies that would stand, and what is wrong with them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model.entries import Entries
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import Document, other_mesh, parse
from mesh.policies.registry import KINDS
from mesh.routing.validate import Finding, Policies, new_violations


@dataclass(frozen=True, slots=True)
class Desired:
    """What would stand; ``findings`` say what keeps it from being applied."""

    policies: Policies
    findings: tuple[Finding, ...]


def desired(
    entries: Entries,
    standing: Policies,
    applied: Sequence[Mapping[str, Any]],
    deleted: Iterable[tuple[str, str]],
) -> Desired:
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
        if (stray := other_mesh(document)) is not None:
            findings.append((document.label, stray))
        if document.label in given:
            findings.append((document.label, Violation("name", "is given more than once")))
        given[document.label] = policies[document.key] = document
    if not findings:
        findings += new_violations(entries, standing, policies, given)
    return Desired(policies, tuple(findings))
