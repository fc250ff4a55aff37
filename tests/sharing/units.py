"""Which tests go to one worker together, and in what order they are handed out.

A unit is a file, or a room whose tests share servers that take long to start.  Long ones go first,
so that no worker is left with one at the end.  What runs alone goes last, and together: there is
least to wait for then.
"""

from __future__ import annotations

from typing import Final

ALONE: Final = "alone"
"""The unit of files of which every test runs alone."""
_TOGETHER: Final = (
    "tests/vms/",
    "tests/traffic/",
    "tests/e2e/",
    "tests/edge/",
    "tests/controlplane/",
    "tests/cli/",
    "tests/contract/",
    "tests/ca/",
    "tests/clients/",
)
"""Rooms with fixtures of the scope of a package or of the session."""
_ALONE: Final = ("tests/traffic/test_faults_of_", "tests/zones/test_network.py")
"""Such files, or how their names begin; those that share nothing with their rooms."""
_APART: Final = (
    "tests/traffic/test_closed_but_for_egress.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_egress",
    "tests/e2e/test_peering.py",
    "tests/e2e/test_two_zones.py",
)
"""Files of such rooms with estates of their own, or how their names begin."""
_LONGEST: Final = (
    "tests/ansible/test_playbooks.py",
    "tests/vms/",
    "tests/zones/test_knowledge.py",
    "tests/traffic/",
    "tests/zones/",
    "tests/e2e/",
    "tests/edge/",
    "tests/docs/test_edge.py",
    "tests/docs/test_first_zone.py",
    "tests/agent/",
    "tests/cli/",
    "tests/policies/",
)
"""Units that take longest, or how their names begin."""


def unit_of(test: str) -> str:
    """Return the unit of a test, which is named as pytest does (a node id)."""
    file = test.partition("::")[0]
    if file.startswith(_ALONE):
        return ALONE
    room = next((room for room in _TOGETHER if file.startswith(room)), file)
    return file if file.startswith(_APART) else room


def rank(unit: str) -> int:
    """Return a unit's place in the order in which they are handed out."""
    if unit == ALONE:
        return len(_LONGEST) + 1
    places = (place for place, start in enumerate(_LONGEST) if unit.startswith(start))
    return next(places, len(_LONGEST))
