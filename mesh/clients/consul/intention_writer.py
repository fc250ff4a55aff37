"""Intentions in Consul's words: the way out, beside ``intention_entries``, the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.clients.consul.intention_entries import KIND
from mesh.model.intentions import (
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    Permission,
)

_KEPT = ("Name", "Action", "Permissions", "Description", "Type", "Peer", "SamenessGroup")


def with_source(entry: Mapping[str, Any] | None, intention: Intention) -> dict[str, Any]:
    """Return ``entry`` with ``intention`` in the place of what it said of that source."""
    written = without_source(entry or {}, intention.source)
    written |= {"Kind": KIND, "Name": intention.destination}
    written["Sources"] = [*written["Sources"], _source(intention)]
    if intention.jwt:
        written["JWT"] = _jwt(intention.jwt)
    return written


def without_source(entry: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return ``entry`` without ``source``, and without what only Consul writes."""
    written = {key: entry[key] for key in ("Kind", "Name", "JWT", "Meta") if entry.get(key)}
    written["Sources"] = [
        {key: item[key] for key in _KEPT if item.get(key)}
        for item in entry.get("Sources") or ()
        if item.get("Name") != source or item.get("Peer")
    ]
    return written


def _source(intention: Intention) -> dict[str, Any]:
    written: dict[str, Any] = {"Name": intention.source}
    if intention.permissions:
        written["Permissions"] = [_permission(item) for item in intention.permissions]
    elif intention.action is not None:
        written["Action"] = intention.action.value
    if intention.description:
        written["Description"] = intention.description
    return written


def _permission(permission: Permission) -> dict[str, Any]:
    http: dict[str, Any] = {}
    if permission.path is not None:
        http[f"Path{permission.path.kind.value.capitalize()}"] = permission.path.value
    if permission.methods:
        http["Methods"] = list(permission.methods)
    if permission.headers:
        http["Header"] = [_header(item) for item in permission.headers]
    written: dict[str, Any] = {"Action": permission.action.value}
    if http or not permission.jwt:
        written["HTTP"] = http
    if permission.jwt:
        written["JWT"] = _jwt(permission.jwt)
    return written


def _header(header: HeaderMatch) -> dict[str, Any]:
    written: dict[str, Any] = {"Name": header.name}
    present = header.kind is HeaderMatchKind.PRESENT
    written[header.kind.value.capitalize()] = True if present else header.value
    if header.invert:
        written["Invert"] = True
    if header.ignore_case:
        written["IgnoreCase"] = True
    return written


def _jwt(requirements: Iterable[JwtRequirement]) -> dict[str, Any]:
    return {
        "Providers": [
            {
                "Name": requirement.provider,
                "VerifyClaims": [
                    {"Path": list(claim.path), "Value": claim.value} for claim in requirement.claims
                ],
            }
            for requirement in requirements
        ]
    }
