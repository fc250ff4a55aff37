"""Running sections of checks: in order, and a section ends where its ground is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mesh.cli.checks.model import Check, Checked, Finding, Level, Section, failure
from mesh.cli.errors import known, parts


async def run(sections: Sequence[Section]) -> list[Checked]:
    """Run every section."""
    return [await _section(section) for section in sections]


async def _section(section: Section) -> Checked:
    found: list[tuple[str, Finding]] = []
    for place, check in enumerate(section.checks):
        findings = await _findings(check)
        found += [(check.title, finding) for finding in findings]
        if check.vital and any(each.level is Level.FAILURE for each in findings):
            left = ", ".join(each.title for each in section.checks[place + 1 :])
            if left:
                title, last = found[-1]
                found[-1] = (title, replace(last, remedy=f"{last.remedy}\nNot checked: {left}."))
            break
    return Checked(section.name, found)


async def _findings(check: Check) -> Sequence[Finding]:
    try:
        return await check.run()
    except known() as error:
        return [failure(*parts(error))]
