"""What checks found, written for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.cli.checks.model import Checked, Level


def lines(checked: Sequence[Checked], *, short: bool) -> list[str]:
    """Write the findings for people, and the sum of them."""
    said: list[str] = []
    for section in checked:
        findings = [
            finding for _, finding in section.findings if not short or finding.level is not Level.OK
        ]
        if not findings:
            continue
        said += [*([""] if said else []), section.name, "-" * len(section.name)]
        for finding in findings:
            first, *more = finding.text.splitlines()
            said.append(f"{finding.level.mark} {first}")
            said += [f"    {line}" for line in more]
            advice = finding.remedy.splitlines()
            said += [f"  {'→' if not index else ' '} {line}" for index, line in enumerate(advice)]
    return [*said, *([""] if said else []), _sum(checked)]


def document(checked: Sequence[Checked]) -> dict[str, Any]:
    """Write the findings for programs."""
    return {
        "ok": not any(section.failed for section in checked),
        "sections": [
            {
                "name": section.name,
                "checks": [
                    {
                        "check": title,
                        "level": finding.level.value,
                        "text": finding.text,
                        "remedy": finding.remedy,
                    }
                    for title, finding in section.findings
                ],
            }
            for section in checked
        ],
    }


def _sum(checked: Sequence[Checked]) -> str:
    levels = [finding.level for section in checked for _, finding in section.findings]
    counts = {level: levels.count(level) for level in Level}
    verdict = "Something is wrong" if counts[Level.FAILURE] else "All is well"
    return f"{verdict}: " + ", ".join(f"{counts[level]} {level.mark}" for level in Level)
