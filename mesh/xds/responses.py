"""A response at its three stages: what it shall carry, its bytes, and that it is unanswered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mesh.envoy.resource import Resource


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A response that the client has not answered yet."""

    nonce: str
    upserts: tuple[Resource, ...]
    adds: bool
    at: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What the next response of a type carries; ``adds`` if some of it is new to the client."""

    upserts: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    adds: bool = False


class Push(NamedTuple):
    """A serialised ``DeltaDiscoveryResponse`` and the type it is about."""

    type_url: str
    body: bytes
