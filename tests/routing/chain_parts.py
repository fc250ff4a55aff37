"""Entries for tests of chains, and how such a test looks at what came out."""

from __future__ import annotations

from typing import Any

from mesh.model.entries import (
    Entries,
    ProxyDefaults,
    Resolver,
    Router,
    ServiceDefaults,
    Splitter,
    Subset,
)
from mesh.model.filters import Condition, Operator
from mesh.model.requests import Match, PathKind, PathMatch
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Route
from mesh.routing.chain import (
    check_chains,
)

V1 = Condition(("Service", "Meta", "version"), Operator.EQUAL, "v1")
SUBSETS = {"v1": Subset(V1), "v2": Subset(only_passing=True)}
ORDERS = Match(path=PathMatch(PathKind.PREFIX, "/orders"))


def entries_of(*found: Any, protocol: Protocol = Protocol.HTTP) -> Entries:
    """Return these entries, and proxy-defaults with ``protocol``."""

    def of(kind: type[Any]) -> dict[str, Any]:
        return {entry.name: entry for entry in found if isinstance(entry, kind)}

    return Entries(
        service_defaults=of(ServiceDefaults),
        proxy_defaults=ProxyDefaults(protocol),
        routers=of(Router),
        splitters=of(Splitter),
        resolvers=of(Resolver),
    )


def blamed(entries: Entries, *services: str) -> list[str]:
    """Return who is blamed for what in the chains of ``services``."""
    return [f"{entry} {violation}" for entry, violation in check_chains(entries, services)]


def targets_of(route: Route) -> dict[str, int]:
    """Return the weight of each target of ``route``."""
    assert isinstance(route.action, Forward)
    return {share.target.name: share.weight for share in route.action.shares}
