"""What the zone cannot use, whom that concerns, and what stands meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli.checks.model import Finding, failure, ok
from mesh.cli.checks.surroundings import ZonePlace


class ZoneProblems:
    """Asks the zone."""

    title = "what the zone cannot use"
    vital = False

    def __init__(self, place: ZonePlace) -> None:
        """Ask the zone at ``place``."""
        self._place = place

    async def run(self) -> Sequence[Finding]:
        """List the problems."""
        async with self._place.client() as zone:
            answer = await zone.problems()
        return judge(answer["problems"])


def judge(problems: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Name each culprit, what is wrong with it, and what holds instead."""
    return [_finding(problem) for problem in problems] or [ok("the zone can use all it was told")]


def _finding(problem: Mapping[str, Any]) -> Finding:
    wrong = "".join(
        "\n" + (f"{each['path']}: {each['message']}" if each["path"] else each["message"])
        for each in problem["violations"]
    )
    services = problem["services"]
    calls = f" calls to {', '.join(services)};" if services else ""
    text = f"{problem['kind']} {problem['name']}:{calls} {problem['standing']}:{wrong}"
    return failure(text, _remedy(problem["kind"], problem["name"]))


def _remedy(kind: str, name: str) -> str:
    if kind.startswith(("service-", "proxy-defaults", "jwt-provider")):
        return f"Mend it: `consul config read -kind {kind} -name {name}`."
    if kind.startswith("Mesh"):
        return f"Mend it: `mesh get {kind} {name} -o yaml`, then `mesh apply`."
    if kind == "policy":
        return "Mend it: `mesh get` shows what stands, `mesh apply` replaces it."
    return "See the zone's log."
