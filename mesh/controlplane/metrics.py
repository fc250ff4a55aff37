"""What the zone counts.  Each control plane owns its registry: two may run in one process."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_CONVERGENCE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Metrics:
    """The zone's figures, in the naming of Prometheus (base units, ``_total``)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self.proxies = Gauge(
            "mesh_xds_proxies", "Proxies connected to this instance.", registry=self.registry
        )
        self.pushes = Counter(
            "mesh_xds_pushes", "Responses sent to proxies.", ["type"], registry=self.registry
        )
        self.nacks = Counter(
            "mesh_xds_nacks", "Responses that proxies refused.", ["type"], registry=self.registry
        )
        self.pushed_bytes = Counter(
            "mesh_xds_pushed_bytes", "Bytes sent to proxies.", ["type"], registry=self.registry
        )
        self.refused_streams = Counter(
            "mesh_xds_refused_streams",
            "Proxies that were not let in.",
            ["status"],
            registry=self.registry,
        )
        self.acknowledgement = Histogram(
            "mesh_xds_acknowledgement_seconds",
            "From a response's queueing to the proxy's acknowledgement.",
            buckets=_CONVERGENCE_BUCKETS,
            registry=self.registry,
        )
        self.push_seconds = Histogram(
            "mesh_push_seconds",
            "Time to render a change and queue it for everybody concerned.",
            buckets=_CONVERGENCE_BUCKETS,
            registry=self.registry,
        )
        self.push_wait = Histogram(
            "mesh_push_wait_seconds",
            "From a change's arrival to the start of its push.",
            buckets=_CONVERGENCE_BUCKETS,
            registry=self.registry,
        )
        self.push_sessions = Counter(
            "mesh_push_sessions", "Proxies reached by pushes.", registry=self.registry
        )
        self.certificates = Counter(
            "mesh_certificates_issued", "Certificates issued.", ["proof"], registry=self.registry
        )
        self.refusals = Counter(
            "mesh_enrolment_refusals", "Certificates refused.", ["reason"], registry=self.registry
        )
        self.consul_errors = Counter(
            "mesh_consul_errors", "Failed calls to Consul.", ["call"], registry=self.registry
        )
        self.knowledge_age = Gauge(
            "mesh_knowledge_age_seconds",
            "Seconds since a source last answered.",
            ["source"],
            registry=self.registry,
        )
        self.rollout_weight = Gauge(
            "mesh_rollout_weight",
            "Percentage of the calls that a rollout sends to its canary.",
            ["rollout"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "mesh_leader", "1 where this instance leads its zone.", registry=self.registry
        )
        self.requests = Histogram(
            "mesh_api_request_seconds",
            "Time to answer a request to the API.",
            ["route", "status"],
            registry=self.registry,
        )

    def expose(self) -> bytes:
        """Write all figures in Prometheus' text format."""
        return generate_latest(self.registry)


class PushMetrics:
    """Counts what the hub tells of each push."""

    def __init__(self, metrics: Metrics) -> None:
        """Count into ``metrics``."""
        self._metrics = metrics

    def pushed(self, *, sessions: int, seconds: float, waited: float) -> None:
        """Count a push."""
        self._metrics.push_sessions.inc(sessions)
        self._metrics.push_seconds.observe(seconds)
        self._metrics.push_wait.observe(waited)


class XdsMetrics:
    """Counts what the xDS server tells its observer."""

    def __init__(self, metrics: Metrics) -> None:
        """Count into ``metrics``."""
        self._metrics = metrics

    def on_push(self, type_url: str, size: int) -> None:
        """Count a response of ``size`` bytes."""
        kind = _short(type_url)
        self._metrics.pushes.labels(type=kind).inc()
        self._metrics.pushed_bytes.labels(type=kind).inc(size)

    def on_ack(self, type_url: str, seconds: float) -> None:  # noqa: ARG002 - the observer protocol names it
        """Count an acknowledgement."""
        self._metrics.acknowledgement.observe(seconds)

    def on_nack(self, type_url: str, names: tuple[str, ...]) -> None:  # noqa: ARG002 - likewise
        """Count a refusal by a proxy."""
        self._metrics.nacks.labels(type=_short(type_url)).inc()

    def on_refused(self, status: str) -> None:
        """Count a proxy that was not let in."""
        self._metrics.refused_streams.labels(status=status).inc()


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
