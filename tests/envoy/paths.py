"""Matches by path."""

from __future__ import annotations

from mesh.model.requests import (
    Match,
    PathKind,
    PathMatch,
)


def path(kind: PathKind, value: str, *, ignore_case: bool = False) -> Match:
    """Return a match of requests by their path."""
    return Match(path=PathMatch(kind, value, ignore_case))
