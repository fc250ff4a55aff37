"""Who the services of one zone are, for builders that ask."""

from __future__ import annotations

from collections.abc import Callable

from mesh.model.destinations import Target
from mesh.model.identity import WorkloadId


def identities(zone: str, trust_domain: str) -> Callable[[Target], WorkloadId]:
    """Return what tells the identity of a target as seen from ``zone``."""
    return lambda target: WorkloadId(trust_domain, target.elsewhere or zone, target.service)
