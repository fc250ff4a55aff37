"""How calls are shared out among the instances of one zone: more to those that are nearer.

Source: ``localityAwareness.localZone`` of Kuma's MeshLoadBalancingStrategy; locality weighted load
balancing in Envoy's documentation.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from mesh.model.destinations import Affinity
from mesh.policies.shape import Strict

_MOST: Final = 1_000_000
_FIRST: Final = 9
_STEP: Final = 10
"""Each tag gets nine parts of ten of what those after it, and the rest, have among them."""


class AffinityTag(Strict):
    """A label that says how near an instance is: a region, a room, a host."""

    key: Annotated[str, Field(min_length=1, max_length=128)]
    """Instances are near that have the caller's own value of this label in their meta, or in
    their node's."""
    weight: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    """How many parts of the calls they get together, where those that share no tag get one.
    Without, nine tenths of what is left by the tags before."""


class LocalZone(Strict):
    """How calls are shared out in the caller's zone."""

    affinity_tags: Annotated[tuple[AffinityTag, ...], Field(min_length=1, max_length=6)]
    """The labels, the nearest first; an instance counts by the first that it shares."""


def local_zone(conf: LocalZone) -> dict[str, Any]:
    """Return what ``conf`` says of the form's load balancing."""
    tags = conf.affinity_tags
    return {
        "affinity": tuple(
            Affinity(tag.key, tag.weight or _FIRST * _STEP ** (len(tags) - 1 - place))
            for place, tag in enumerate(tags)
        )
    }
