"""Rules of a MeshHTTPRoute, and what they make."""

from __future__ import annotations

from typing import Any

import yaml

from mesh.model.destinations import Target
from mesh.model.traffic import (
    Forward,
    Route,
    Share,
)
from mesh.policies.kinds.http_route import KIND, routes
from tests.policies.kinds import documents

ITSELF = Forward((Share(Target("api")),))


def spec(*rules: str) -> dict[str, Any]:
    """Return a spec with ``rules`` (YAML) about calls to ``api``."""
    return {"to": [{"targetRef": documents.API, "rules": [yaml.safe_load(rule) for rule in rules]}]}


def routes_of(*rules: str) -> tuple[Route, ...]:
    """Return the routes that ``rules`` make."""
    return routes(documents.read(KIND, spec(*rules)), "api")


def filtered(*filters: str) -> Route:
    """Return the route of a rule with ``filters`` (YAML)."""
    rule = {"default": {"filters": [yaml.safe_load(each) for each in filters]}}
    (route,) = routes_of(yaml.safe_dump(rule))
    return route


def refused(*rules: str) -> dict[str, str]:
    """Return what is wrong with ``rules``, by its path in the part about ``api``."""
    found = documents.refused(KIND, spec(*rules))
    return {path.removeprefix("spec.to[0]."): message for path, message in found.items()}
