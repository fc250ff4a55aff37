"""``service-splitter`` entries.  Pure."""

from __future__ import annotations

import math
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.entries import Split, Splitter
from mesh.sources.consul.entries.fields import Entry, refuse_enterprise, service, subset
from mesh.sources.consul.entries.headers import header_edits
from mesh.sources.consul.entries.kinds import SERVICE_SPLITTER
from mesh.sources.consul.problems import Raw

_PERCENT: Final = 100
_WHOLE: Final = 100 * _PERCENT
"""Weights count in hundredths of a percent."""


def parse_splitter(raw: Raw) -> Splitter:
    """Read a ``service-splitter`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    entry = Entry(SERVICE_SPLITTER, raw)
    name = entry.fields.name("Name")
    splits: list[Split] = []
    seen: set[tuple[str, str]] = set()
    total = 0
    for item in entry.fields.children("Splits"):
        hundredths = _weight(item)
        total += hundredths
        plain = item.raw("RequestHeaders") is None and item.raw("ResponseHeaders") is None
        split = _split(item, hundredths)
        splits.append(split)
        key = (split.service or name, split.subset)
        if plain and key in seen:
            item.wrong("", f"sends to {' '.join(filter(None, key))} as an earlier split does")
        elif plain:
            seen.add(key)
    if not splits:
        entry.fields.wrong("Splits", "is required: at least one split")
    elif total != _WHOLE:
        entry.fields.wrong("Splits", f"the weights sum to {total / _PERCENT:g}, must be 100")
    entry.close()
    return Splitter(name, tuple(splits))


def _split(item: Fields, hundredths: int) -> Split:
    refuse_enterprise(item)
    split = Split(
        weight=hundredths / _PERCENT,
        service=service(item),
        subset=subset(item),
        request_headers=header_edits(item, "RequestHeaders"),
        response_headers=header_edits(item, "ResponseHeaders"),
    )
    item.close()
    return split


def _weight(item: Fields) -> int:
    value = item.raw("Weight")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _PERCENT:
        item.wrong("Weight", "expected a number from 0 to 100")
        return 0
    return math.floor(value * _PERCENT + 0.5)
