"""What to believe of another zone, from what was heard of it.  Pure.

Nothing is forgotten because it cannot be seen: a zone that does not answer keeps its last document,
with its age and the reason.  One that says of a sudden that it has nothing left is believed once it
has said so for :data:`EMPTY_FOR`, for that is also what a zone says whose Consul lost its data.  A
document that is not the zone's own is not believed at all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.record import ZoneRecord

EMPTY_FOR: Final = timedelta(minutes=2)
"""How long a zone must say that it has nothing left."""
_LATEST: Final = 4
"""Of so many measurements the least counts: one that met a lost packet, or a link that was just
mended, says nothing of the distance."""
_NOTICED: Final = 0.25
"""The part of the distance by which it must change to be told."""
_LEAST: Final = 2.0
"""Milliseconds by which it must, too: zones near each other must not change places for nothing."""


def heard(
    before: ZoneRecord | None, document: ZoneDocument, now: datetime, *, emptied: datetime | None
) -> tuple[ZoneRecord, datetime | None]:
    """Return what is known after reading ``document``, and since when it has said to be empty.

    ``emptied`` is what was returned for the last.
    """
    is_news = before is None or document.published_at != before.document.published_at
    skew = 0.0 if before is None else before.skew
    if is_news and document.published_at is not None:
        skew = (document.published_at - now).total_seconds()
    heard_at = now if before is None or is_news else before.heard_at
    if before is None:
        return ZoneRecord(document, now, heard_at, skew), None
    known = replace(before, read_at=now, heard_at=heard_at, skew=skew, error="")
    if document.zone.trust_domain != before.zone.trust_domain:
        return replace(known, error=_another_trust_domain(before, document)), None
    if not _empties(before.document, document):
        return replace(known, document=document), None
    since = emptied or now
    if now - since >= EMPTY_FOR:
        return replace(known, document=document), None
    until = (since + EMPTY_FOR).strftime("%H:%M:%S")
    why = f"it says that nobody can be called there any more, which is believed from {until} on"
    return replace(known, error=why), since


def unheard(before: ZoneRecord, error: str) -> ZoneRecord:
    """Return what is known when the zone cannot be read: all that was, and why."""
    return replace(before, error=error)


def measured(
    before: ZoneRecord, samples: tuple[float, ...], sample: float
) -> tuple[ZoneRecord, tuple[float, ...]]:
    """Take a round trip of ``sample`` milliseconds; return the record, and the latest samples.

    The distance told changes only by what matters: calls go by it.
    """
    latest = (*samples, sample)[-_LATEST:]
    least, told = min(latest), before.distance
    if told is None or abs(least - told) > max(_NOTICED * told, _LEAST):
        return replace(before, distance=round(least, 2)), latest
    return before, latest


def _empties(before: ZoneDocument, after: ZoneDocument) -> bool:
    lost_services = bool(before.zone.services) and not after.zone.services
    return lost_services or (bool(before.zone.gateways) and not after.zone.gateways)


def _another_trust_domain(before: ZoneRecord, document: ZoneDocument) -> str:
    zone = before.zone
    return (
        f"it says that its trust domain is {document.zone.trust_domain}, and was "
        f"{zone.trust_domain}: another zone has taken the name. If that is meant, "
        f"`mesh zone forget {zone.name}` first"
    )
