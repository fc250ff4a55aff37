"""How a host's services are, and what to make of it: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

_GRAVE: Final = frozenset({"warning", "error", "critical"})
_ABSENT: Final = "not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What could be seen of one service.

    Attributes:
        service: its name.
        unit: properties of its unit, as systemd names them.
        page: what the proxy says of itself; None if it does not answer.
        foreign: by what its state is another machine's; empty if it is not, or cannot be seen.
        capture: what the capture's own check says, empty if nothing is amiss; None if nobody's
            connections are captured.

    """

    service: str
    unit: Mapping[str, str]
    page: Mapping[str, Any] | None = None
    foreign: str = ""
    capture: str | None = None


def not_joined(page: Mapping[str, Any] | None, service: str) -> str:
    """Return what a proxy still lacks to be in the mesh; empty if nothing."""
    if page is None:
        return "the proxy does not answer yet"
    if page.get("service") != service:
        return f"the proxy of {page.get('service')} has the port"
    if page["missing"]:
        return "; ".join(page["missing"])
    registration = page["registration"]
    if registration["with"] != "none" and not registration["registered"]:
        return registration["problem"] or "not registered yet"
    return ""


def explanation(lines: Sequence[str]) -> str:
    """Return the line of a journal that explains why a proxy is not up; empty if none does.

    That is the last error with which it ended, else the last thing it complained of, else the
    last line.
    """
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("error: "):
            after = lines[number + 1 : number + 2]
            remedy = [each for each in after if each.startswith("remedy: ")]
            return " ".join((lines[number], *remedy))
    for line in reversed(lines):
        record = _record(line)
        if record.get("level") in _GRAVE:
            reason = record.get("reason")
            return f"{record.get('event')}: {reason}" if reason else str(record.get("event"))
    return lines[-1] if lines else ""


def complaints(seen: Seen, now: datetime) -> tuple[str, ...]:
    """Return why a service is not well; nothing if it is."""
    found = []
    state, enabled = seen.unit.get("ActiveState", ""), seen.unit.get("UnitFileState", "")
    if seen.foreign:
        found.append(
            f"its state is another machine's ({seen.foreign}): `mesh vm join` anew with a token"
        )
    if seen.unit.get("LoadState") == _ABSENT:
        found.append("its unit is not installed: `mesh vm join` it again")
    elif state != "active":
        found.append(f"its unit is {state or 'unknown'}: `journalctl -u {seen.unit.get('Id')}`")
    if state == "active" and not enabled.startswith("enabled"):
        found.append("its unit does not start with the host: `systemctl enable` it")
    if seen.page is None:
        if state == "active":
            found.append("the proxy does not answer on its readiness port")
    else:
        found += _of_page(seen.page, now)
    if seen.capture:
        found.append(f"capture: {seen.capture}")
    return tuple(found)


def row(seen: Seen, now: datetime) -> tuple[str, ...]:
    """Return a service's row of the table, for :data:`COLUMNS`."""
    page = seen.page or {}
    zone, registration = page.get("zone") or {}, page.get("registration") or {}
    certificate = (page.get("certificate") or {}).get("not_after")
    connected = "connected" if zone.get("connected") else "away"
    return (
        seen.service,
        f"{seen.unit.get('ActiveState') or '?'}, {seen.unit.get('UnitFileState') or '?'}",
        "-" if seen.page is None else ("yes" if page.get("ready") else "no"),
        f"{_moment(certificate)} ({_left(certificate, now)})" if certificate else "-",
        f"{zone.get('name')}: {connected} since {_moment(zone.get('since'))}" if zone else "-",
        _moment(page.get("last_known_good")),
        _registered(registration),
        "-" if seen.capture is None else (seen.capture or "loaded"),
        str(page.get("version") or "-"),
    )


COLUMNS: Final = (
    *("service", "unit", "ready", "certificate until", "zone", "last known good"),
    *("registered", "capture", "version"),
)


def document(seen: Seen, now: datetime) -> dict[str, Any]:
    """Return the same for programs."""
    names = {"ActiveState": "state", "SubState": "substate", "UnitFileState": "enabled"}
    return {
        "service": seen.service,
        "well": not complaints(seen, now),
        "complaints": list(complaints(seen, now)),
        "unit": {
            "name": seen.unit.get("Id"),
            **{name: seen.unit.get(each) for each, name in names.items()},
            "restarts": int(seen.unit.get("NRestarts") or 0),
        },
        "another_machines": seen.foreign or None,
        "capture": None if seen.capture is None else {"loaded": not seen.capture},
        "proxy": dict(seen.page) if seen.page is not None else None,
    }


def _of_page(page: Mapping[str, Any], now: datetime) -> list[str]:
    found = [f"not ready: {each}" for each in page["missing"]]
    certificate = page.get("certificate")
    if certificate and datetime.fromisoformat(certificate["not_after"]) <= now:
        found.append("its certificate has expired")
    registration = page["registration"]
    if registration["with"] != "none" and not registration["registered"]:
        found.append(f"not registered: {registration['problem'] or 'not yet'}")
    elif registration["problem"]:
        found.append(f"registration: {registration['problem']}")
    if not page["zone"]["connected"] and page.get("serving"):
        found.append(
            f"away from its zone since {_moment(page['zone']['since'])}; it serves what it knows"
        )
    return found


def _registered(registration: Mapping[str, Any]) -> str:
    if not registration:
        return "-"
    if registration["with"] == "none":
        return "by others"
    return f"{'yes' if registration['registered'] else 'no'} ({registration['with']})"


def _moment(text: object) -> str:
    if not text:
        return "-"
    return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M:%SZ")


def _left(text: str, now: datetime) -> str:
    left = datetime.fromisoformat(text) - now
    if left <= timedelta():
        return "expired"
    hours, seconds = divmod(int(left.total_seconds()), 3600)
    return f"in {hours} h {seconds // 60:02d} min" if hours else f"in {seconds // 60} min"


def _record(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
