"""From Envoy's request to the counters it is about.

A descriptor is an ordered list of names and values, such as ``remote_address=192.0.2.1``, with
the limit that holds for it.  What counts as one counter is the domain, the entries in their
order, and the length of the window: a limit that is raised keeps what was already used.

Values come from callers and may be long or hold anything, so a key is a digest of all of it,
each part preceded by its length: no two lists of entries are written alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from envoy.service.ratelimit.v3 import rls_pb2

from mesh.model.violations import Report

_UNITS: Final = rls_pb2.RateLimitResponse.RateLimit.Unit
_DAY: Final = 86_400
WINDOWS: Final = {
    _UNITS.SECOND: 1,
    _UNITS.MINUTE: 60,
    _UNITS.HOUR: 3_600,
    _UNITS.DAY: _DAY,
    _UNITS.WEEK: 7 * _DAY,
    _UNITS.MONTH: 30 * _DAY,
    _UNITS.YEAR: 365 * _DAY,
}
"""Seconds of each unit.  A month has 30 days, a year 365."""

_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Hit:
    """What one descriptor asks: ``cost`` of the ``limit`` per ``unit``, counted at ``key``.

    A cost of zero asks whether anything is left, and takes nothing.
    """

    key: str
    limit: int
    unit: int
    cost: int

    @property
    def window(self) -> int:
        """The window's length in seconds."""
        return WINDOWS[self.unit]


def read(request: Any) -> tuple[Hit | None, ...]:
    """Read a ``RateLimitRequest``: a hit for each descriptor, none where it carries no limit.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report("the rate limit request")
    if not request.domain:
        report.add("domain", "is required")
    if not request.descriptors:
        report.add("descriptors", "at least one is required")
    cost = request.hits_addend or 1
    found = tuple(
        _hit(report, f"descriptors[{index}]", request.domain, descriptor, cost)
        for index, descriptor in enumerate(request.descriptors)
    )
    report.close()
    return found


def _hit(report: Report, path: str, domain: str, descriptor: Any, cost: int) -> Hit | None:
    if not descriptor.entries:
        report.add(f"{path}.entries", "at least one is required")
    for index, entry in enumerate(descriptor.entries):
        if not entry.key:
            report.add(f"{path}.entries[{index}].key", "is required")
    if not descriptor.HasField("limit"):
        return None
    limit = descriptor.limit
    if limit.unit not in WINDOWS:
        report.add(f"{path}.limit.unit", f"{limit.unit} is no unit of time")
        return None
    if descriptor.HasField("hits_addend"):
        cost = descriptor.hits_addend.value
    key = _key(domain, descriptor.entries, WINDOWS[limit.unit])
    return Hit(key, limit.requests_per_unit, limit.unit, cost)


def _key(domain: str, entries: Any, window: int) -> str:
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for part in _parts(domain, entries, window):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def _parts(domain: str, entries: Any, window: int) -> Iterator[str]:
    yield domain
    yield str(window)
    for entry in entries:
        yield entry.key
        yield entry.value
