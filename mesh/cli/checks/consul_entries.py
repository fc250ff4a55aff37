"""Configuration entries and intentions that the mesh cannot read, by name."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok
from mesh.cli.checks.surroundings import Surroundings
from mesh.sources.consul.problems import Problem


class ConsulEntries:
    """Reads everything with the zone's own readers."""

    title = "configuration entries and intentions"
    vital = False

    def __init__(self, surroundings: Surroundings) -> None:
        """Take what was read from ``surroundings``."""
        self._surroundings = surroundings

    async def run(self) -> Sequence[Finding]:
        """Name each culprit with all that is wrong with it."""
        facts = await self._surroundings.facts()
        if facts.problems:
            return [judge(problem) for problem in facts.problems]
        entries = sum(map(len, facts.world.intentions.values()))
        return [ok(f"all can be read; {entries} intentions")]


def judge(problem: Problem) -> Finding:
    """Say what is wrong with one entry."""
    wrong = "".join(f"\n{violation}" for violation in problem.violations)
    text = f"{problem.kind} {problem.name} is malformed; {problem.standing}:{wrong}"
    if problem.kind == "intention":
        return failure(text, "Mend it, or delete it: `mesh intention delete SRC DST`.")
    command = f"consul config read -kind {problem.kind} -name {problem.name}"
    return failure(text, f"Mend it: `{command}`, then `consul config write`.")
