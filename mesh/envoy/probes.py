"""Active health checks: what a caller's proxy asks an instance from time to time."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import health_check_pb2
from envoy.type.v3 import http_pb2

from mesh.envoy.edits import options, request_edits
from mesh.envoy.proto import duration
from mesh.model.destinations import Probe, ProbeKind
from mesh.model.services import Protocol


def health_check(probe: Probe, protocol: Protocol) -> Any:
    """Return the HealthCheck of ``probe`` for a cluster that speaks ``protocol``.

    Without HTTP/2 nobody can be asked over gRPC, and Envoy would refuse the cluster; then being
    connected is what counts.
    """
    result = health_check_pb2.HealthCheck(
        timeout=duration(probe.timeout),
        interval=duration(probe.interval),
        # Envoy would ask once a minute where there was no call yet: too late for the first one.
        no_traffic_interval=duration(probe.interval),
    )
    result.unhealthy_threshold.value = probe.unhealthy
    result.healthy_threshold.value = probe.healthy
    if probe.jitter_percent is not None:
        result.interval_jitter_percent = probe.jitter_percent
    if not probe.reuse_connection:
        result.reuse_connection.value = False
    multiplexed = protocol in {Protocol.HTTP2, Protocol.GRPC}
    if probe.kind is ProbeKind.HTTP:
        _http(result.http_health_check, probe, multiplexed=multiplexed)
    elif probe.kind is ProbeKind.GRPC and multiplexed:
        question = result.grpc_health_check
        question.service_name = probe.service
        question.authority = probe.host
        question.initial_metadata.extend(options(probe.request_headers))
    else:
        result.tcp_health_check.SetInParent()
    return result


def _http(question: Any, probe: Probe, *, multiplexed: bool) -> None:
    question.path = probe.path
    question.host = probe.host
    for status in probe.expected:
        question.expected_statuses.add(start=status, end=status + 1)
    request_edits(question, probe.request_headers)
    if multiplexed:
        question.codec_client_type = http_pb2.CodecClientType.HTTP2
