"""Points and lengths of time, read and written for people.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def read(text: str) -> datetime:
    """Read what a zone writes; without an offset it is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def age(value: timedelta) -> str:
    """Write a length of time in its largest unit, and the next."""
    seconds = max(0, int(value.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def ending(end: datetime, now: datetime) -> str:
    """Write when something ends: ``in 3 days``, or ``since`` when it has."""
    left = end - now
    if left <= timedelta():
        return f"since {end:%Y-%m-%d %H:%M} UTC"
    if left >= timedelta(days=2):
        return f"in {left.days} days"
    return f"in {left.total_seconds() / 3600:.1f} h"
