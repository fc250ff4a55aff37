"""How certificates near their end are judged, whoever's they are.  Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.cli.times import ending

LEAF_ENDS_SOON: Final = timedelta(hours=6)
"""A leaf that lives no longer than this should have been renewed: it lives a day, to its half."""


def judge(
    what: str, end: datetime, now: datetime, *, soon: timedelta, expired: str, late: str
) -> Finding:
    """Say whether ``what`` lasts; ``expired`` and ``late`` are what to do if it does not."""
    when = ending(end, now)
    if end <= now:
        return failure(f"{what} has expired {when}", expired)
    if end - now < soon:
        return warning(f"{what} expires {when}", late)
    return ok(f"{what} expires {when}")
