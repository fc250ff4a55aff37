"""What a sample is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

EDITS: Final = {"Add": {"x-a": "1"}, "Set": {"x-b": "2"}, "Remove": ["x-c"]}


@dataclass(frozen=True, slots=True)
class Sampled:
    """A kind of entry.  ``refused`` are fields, by path, that make an entry invalid.

    ``notes`` say where what the mesh does differs from what Consul's reference leads to expect.
    """

    kind: str
    parse: Callable[[Mapping[str, Any]], object]
    samples: Sequence[Json]
    refused: Mapping[tuple[str | int, ...], Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
