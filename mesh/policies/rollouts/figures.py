"""What proxies counted, and what it says of the calls.  Pure.

A *reading* is a flat map of counters that only grow, as an agent answers for one cluster:

- Envoy's statistics of the cluster, by their names without ``cluster.<name>.``;
- ``host/<address>/rq_success`` and ``…/rq_error``, which know of gRPC's status as well;
- ``le/<milliseconds>``: calls that took up to so long, and longer than the next lower one says.

Every attempt counts: one that was retried is a failed call of the version that had to be asked
again, though the caller may never have known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from mesh.model.services import Protocol

Reading = Mapping[str, int]
"""Counters by name."""

_HOST: Final = "host/"
_LATENCY: Final = "le/"
_ANSWERS: Final = tuple(f"upstream_rq_{first}xx" for first in range(1, 6))
_WHOLE: Final = 100.0


class Figures(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Calls, how many failed, and how long they took (milliseconds, at most, to calls)."""

    requests: int = 0
    failures: int = 0
    latencies: dict[str, int] = {}

    def plus(self, other: Self) -> Self:
        """Return both together."""
        merged = Counter(self.latencies)
        merged.update(other.latencies)
        return type(self)(
            self.requests + other.requests, self.failures + other.failures, dict(merged)
        )

    def since(self, earlier: Self) -> Self:
        """Return what has been added to ``earlier``; everything if it started anew."""
        if self.requests < earlier.requests or self.failures < earlier.failures:
            return self
        grown = {
            edge: count - earlier.latencies.get(edge, 0) for edge, count in self.latencies.items()
        }
        return type(self)(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            {edge: count for edge, count in grown.items() if count > 0},
        )

    @property
    def timed(self) -> int:
        """How many calls are known to have taken how long."""
        return sum(self.latencies.values())

    @property
    def success_rate(self) -> float | None:
        """The percentage of calls that succeeded; None without any."""
        if not self.requests:
            return None
        return _WHOLE * max(self.requests - self.failures, 0) / self.requests

    def latency(self, percentile: float) -> float | None:
        """Return the seconds within which that percentage of calls was answered."""
        needed = math.ceil(self.timed * percentile / _WHOLE)
        seen = 0
        for edge, count in sorted((float(edge), count) for edge, count in self.latencies.items()):
            seen += count
            if seen >= needed:
                return edge / 1000
        return None


NOTHING: Final = Figures()


def grown(before: Reading, now: Reading) -> Reading:
    """Return by how much each counter grew.

    A proxy that was restarted counts from zero: then all of what it says now is new.
    """
    restarted = any(
        now.get(name, 0) < count for name, count in before.items() if not name.startswith(_HOST)
    )
    found = {}
    for name, count in now.items():
        earlier = 0 if restarted else before.get(name, 0)
        # A host that left and came back counts from zero, too.
        found[name] = count - earlier if count >= earlier else count
    return {name: count for name, count in found.items() if count}


def figures(growth: Reading, protocol: Protocol) -> Figures:
    """Return what the growth of a cluster's counters says of the calls."""
    if not protocol.is_http:
        return Figures(
            growth.get("upstream_cx_total", 0), growth.get("upstream_cx_connect_fail", 0)
        )
    retried = growth.get("upstream_rq_retry", 0)
    requests = sum(growth.get(name, 0) for name in _ANSWERS) + retried
    failures = growth.get("upstream_rq_5xx", 0) + retried
    if protocol is Protocol.GRPC:
        # An answer of 200 says nothing before its trailers, which only the host's counters wait
        # for; and only the cluster's know of calls for which there was no host.
        failures = max(failures, _of_hosts(growth, "rq_error"))
        requests = failures + _of_hosts(growth, "rq_success")
    latencies = {
        name.removeprefix(_LATENCY): count
        for name, count in growth.items()
        if name.startswith(_LATENCY)
    }
    return Figures(requests, failures, latencies)


def _of_hosts(growth: Reading, name: str) -> int:
    return sum(
        count for key, count in growth.items() if key.startswith(_HOST) and key.endswith(f"/{name}")
    )
