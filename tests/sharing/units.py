"""Which tests go to one worker together, and in what order they are handed out.

A unit is a file, or a room whose tests share servers that take long to start.  Long ones go first,
so that no worker is left with one at the end.
"""

from __future__ import annotations

from typing import Final

_TOGETHER: Final = (
    "tests/traffic",
    "tests/e2e",
    "tests/edge",
    "tests/controlplane",
    "tests/cli",
    "tests/contract",
    "tests/ca",
    "tests/clients",
)
"""Rooms with fixtures of the scope of a package or of the session."""
_LONGEST: Final = (
    "tests/traffic",
    "tests/zones/test_knowledge.py",
    "tests/zones/test_links.py",
    "tests/e2e",
    "tests/zones/test_primary.py",
    "tests/zones/test_guide.py",
    "tests/zones",
    "tests/edge",
    "tests/docs/test_edge.py",
    "tests/docs/test_first_zone.py",
    "tests/agent",
    "tests/cli",
    "tests/policies",
)
"""Units, or the beginnings of their names, that take longest."""


def unit_of(test: str) -> str:
    """Return the unit of a test, which is named as pytest does (a node id)."""
    file = test.partition("::")[0]
    return next((room for room in _TOGETHER if file.startswith(f"{room}/")), file)


def rank(unit: str) -> int:
    """Return a unit's place in the order in which they are handed out."""
    places = (place for place, start in enumerate(_LONGEST) if unit.startswith(start))
    return next(places, len(_LONGEST))
