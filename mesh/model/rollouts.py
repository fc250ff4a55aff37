"""Progressive delivery: how far a new version has come.

What a person asked for is a MeshRollout policy; this is where it stands now, as far as calls are
concerned.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.destinations import Target


@dataclass(frozen=True, slots=True)
class Rollout:
    """Of the calls that end at ``stable``, ``weight`` (out of ``WHOLE``) go to ``canary``.

    ``run`` names one attempt among those of the same name; it is empty once nobody needs to
    measure how the calls go.
    """

    name: str
    stable: Target
    canary: Target
    weight: int
    run: str = ""
