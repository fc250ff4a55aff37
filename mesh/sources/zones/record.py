"""What a zone knows of another, as its own KV store keeps it.  Pure.

``mesh/federation/<zone>`` holds the last good document of that zone beside how, and how well, it is
known.  The leader writes it; every instance of the zone reads it here and nowhere else, so that a
zone that restarts while the other cannot be reached goes on with what was known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from mesh.clients.consul import KeyValue
from mesh.model.violations import Report
from mesh.model.zones import Zone
from mesh.sources.zones.document import ZoneDocument, read

KIND: Final = "zone"
PREFIX: Final = "mesh/federation/"
"""Where records stand in the KV; the rest of the key is the other zone."""

Raw = Mapping[str, Any]
_PAIR: Final = "pair"


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """One other zone as it is known here.

    ``read_at`` is when its document was last read, ``heard_at`` when it last said something new,
    both by this zone's clock; ``skew`` is by how many seconds its clock was ahead of ours then.
    ``distance`` is in milliseconds.  ``error`` says why it cannot be read now, or why what it says
    is not believed.
    """

    document: ZoneDocument
    read_at: datetime
    heard_at: datetime
    skew: float = 0.0
    distance: float | None = None
    error: str = ""

    @property
    def zone(self) -> Zone:
        """The zone, at its distance."""
        return replace(self.document.zone, distance=self.distance)

    def encode(self) -> bytes:
        """Write what :func:`parse` reads."""
        body: dict[str, Any] = {
            "document": json.loads(self.document.encode()),
            "read_at": self.read_at.isoformat(),
            "heard_at": self.heard_at.isoformat(),
            "skew_seconds": round(self.skew, 3),
            "distance_ms": self.distance,
            "error": self.error,
        }
        return json.dumps(body).encode()


def parse(data: bytes, subject: str) -> ZoneRecord:
    """Read a record; ``subject`` is how errors name it.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(subject)
    try:
        held = msgspec.json.decode(data, type=_Record)
        document = read(held.document, report)
    except ValueError as error:
        raise report.refuse("", f"is not a record of a zone: {error}") from error
    report.close()
    return ZoneRecord(
        document,
        held.read_at,
        held.heard_at,
        held.skew_seconds,
        held.distance_ms,
        held.error,
    )


def raw_records(pairs: Iterable[KeyValue]) -> dict[str, Raw]:
    """Return what stands at each key, still unread, by zone."""
    return {pair.key.removeprefix(PREFIX): {_PAIR: pair} for pair in pairs if pair.key != PREFIX}


def parse_zone(raw: Raw) -> Zone:
    """Read one record for where calls can go.

    Raises:
        InvalidInputError: with every violation.

    """
    pair: KeyValue = raw[_PAIR]
    zone = parse(pair.data, f"key {pair.key}").zone
    if zone.name != pair.key.removeprefix(PREFIX):
        message = f"is {zone.name!r}, which is not the zone that the key names"
        raise Report(f"key {pair.key}").refuse("document.zone", message)
    return zone


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: Any
    read_at: datetime
    heard_at: datetime
    skew_seconds: float
    distance_ms: float | None
    error: str
