"""How often somebody may ask: token buckets, one for all and one for each source address.

Enrolment signs with the zone's key and writes to Consul, so a host that retries in a tight loop
must not starve the others.  A source that is over its own limit does not draw on the common one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

_MAX_SOURCES: Final = 10_000
_IPV6_SITE_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` in the long run, ``burst`` at once."""

    per_second: float
    burst: int


class TokenBucket:
    """One bucket, filled with time.  Times are seconds of a monotonic clock."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        """Start full."""
        self._rate = rate
        self._tokens = float(rate.burst)
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until a token is there; zero if one is."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._rate.per_second)

    def take(self) -> None:
        """Take the token that :meth:`wait` found."""
        self._tokens -= 1.0

    def is_full(self, now: float) -> bool:
        """Tell whether forgetting this bucket would change nothing."""
        self._fill(now)
        return self._tokens >= self._rate.burst

    def _fill(self, now: float) -> None:
        gained = (now - self._at) * self._rate.per_second
        self._tokens = min(float(self._rate.burst), self._tokens + gained)
        self._at = now


class RateLimiter:
    """Admits requests by source address; memory is bounded."""

    def __init__(
        self, common: Rate, per_source: Rate, now: float, max_sources: int = _MAX_SOURCES
    ) -> None:
        """Start with every bucket full at ``now``."""
        self._common = TokenBucket(common, now)
        self._per_source = per_source
        self._sources: dict[str, TokenBucket] = {}
        self._max_sources = max_sources

    def admit(self, address: str, now: float) -> float:
        """Return 0 if the request may go on, else the seconds after which to try again."""
        key = source_of(address)
        bucket = self._sources.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = TokenBucket(self._per_source, now)
            self._sources[key] = bucket
        wait = max(bucket.wait(now), self._common.wait(now))
        if wait == 0.0:
            bucket.take()
            self._common.take()
        return wait

    def _make_room(self, now: float) -> None:
        if len(self._sources) < self._max_sources:
            return
        self._sources = {
            key: bucket for key, bucket in self._sources.items() if not bucket.is_full(now)
        }
        while len(self._sources) >= self._max_sources:
            self._sources.pop(next(iter(self._sources)))


def source_of(address: str) -> str:
    """Return who counts as one source: an IPv4 address, or an IPv6 host's /64 network.

    A single IPv6 host commands a whole /64.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))
