"""Configuration entries with every field that Consul's reference has, for the page about them.

Each kind has samples that together hold all fields the mesh accepts, and, by path, fields whose
value it refuses.  What becomes of each field the page finds out by leaving it out.  Namespaces,
partitions and what any entry has (``Meta``, indexes) are told of in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.docs.consul_samples import callers, defaults, gateways, resolvers, routes
from tests.docs.consul_samples.sampled import Sampled

SAMPLED: Final[Sequence[Sampled]] = (
    *defaults.SAMPLED,
    *routes.SAMPLED,
    *gateways.SAMPLED,
    *resolvers.SAMPLED,
    *callers.SAMPLED,
)
"""Every kind that the mesh reads."""
