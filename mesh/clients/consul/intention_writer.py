"""Intentions in Consul's words: the way out, beside ``intention_entries``, the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.clients.consul.intention_entries import KIND
from mesh.model import callers
from mesh.model.intentions import (
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    Permission,
)
from mesh.model.names import WILDCARD

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
        if source_of(item) != source
    ]
    return written


def source_of(item: Mapping[str, Any]) -> str:
    """Return whom one of the sources of an entry is about."""
    name, peer = str(item.get("Name", "")), str(item.get("Peer") or "")
    if not peer and callers.AT in name:
        service, peer = callers.split(name)
        return callers.joined(service or WILDCARD, peer)
    return callers.joined(name, peer)


def _source(intention: Intention) -> dict[str, Any]:
    name, peer = callers.split(intention.source)
    written: dict[str, Any] = {"Name": name}
    if peer:
        written["Peer"] = peer
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
