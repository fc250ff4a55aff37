"""``/v1/policies/dry-run``: what would change if policies were applied."""

from __future__ import annotations

from typing import Final

from mesh.controlplane.api.dryrun_model import DryRunAnswer, DryRunRequest
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.dryrun.runs import DryRuns

_LARGEST: Final = 1024 * 1024
"""Bytes of a request: more than Consul takes in one transaction."""


def routes(office: DryRuns) -> list[AnyRoute]:
    """Return the routes of policies."""

    async def dry_run(_call: Call, request: DryRunRequest) -> DryRunAnswer:
        return await office.run(request)

    return [
        Route(
            "POST",
            "/v1/policies/dry-run",
            "What would change if policies were applied or deleted",
            Caller.ADMIN,
            Reads.BODY,
            DryRunRequest,
            DryRunAnswer,
            dry_run,
            largest=_LARGEST,
        ),
    ]
