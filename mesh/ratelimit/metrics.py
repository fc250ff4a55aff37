"""What the rate limit service counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Metrics:
    """The service's figures, in the naming of Prometheus (base units, ``_total``)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mesh_ratelimit_requests",
            "Requests answered: ok, over_limit, unavailable or invalid.",
            ["answer"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "mesh_ratelimit_requests_in_flight",
            "Requests that wait for their answer.",
            registry=self.registry,
        )
        self.descriptors = Counter(
            "mesh_ratelimit_descriptors",
            "Descriptors judged: ok, over_limit, or unlimited for want of a limit.",
            ["verdict"],
            registry=self.registry,
        )
        self.store_failures = Counter(
            "mesh_ratelimit_store_failures",
            "Requests that the counters could not be asked for.",
            ["kind"],
            registry=self.registry,
        )
        self.decision = Histogram(
            "mesh_ratelimit_decision_seconds",
            "Time to decide one request.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.store_up = Gauge(
            "mesh_ratelimit_store_up",
            "1 where the counters can be asked.",
            registry=self.registry,
        )
        self.counters = Gauge(
            "mesh_ratelimit_memory_counters",
            "Counters held in memory; 0 where they are in Redis.",
            registry=self.registry,
        )

    def watch(self, up: Callable[[], bool], counters: Callable[[], int]) -> None:
        """Ask ``up`` and ``counters`` whenever the figures are read."""
        self.store_up.set_function(lambda: float(up()))
        self.counters.set_function(lambda: float(counters()))

    def expose(self) -> bytes:
        """Write all figures in Prometheus' text format."""
        return generate_latest(self.registry)
