"""The listener of an egress gateway: one filter chain for each thing that may be asked for.

A call to another zone is told by the end of its name (SNI) and passed on unopened to the cluster
of that very name.  A call to an external service ends here: its chain speaks TLS as the gateway
itself, judges the caller, and sends what is inside on to the outside.

Chains are named and independent, so that one that comes, goes or changes drains its own
connections only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2

from mesh.envoy import by_name, cluster, listener
from mesh.envoy.cluster import NOBODY
from mesh.envoy.proto import typed
from mesh.envoy.tls import from_ads
from mesh.model.destinations import (
    Destination,
    External,
    Limits,
    Selection,
    Settings,
    Target,
)
from mesh.model.identity import WorkloadId
from mesh.model.names import sni
from mesh.model.services import Protocol

_EGRESS: Final = "egress"
_MOST: Final = 2**32 - 1
_SETTINGS: Final = Settings(limits=Limits(connections=_MOST, pending=_MOST, requests=_MOST))
"""All calls of a zone come through a few gateways: the limits are the callers' own."""
_REFUSED: Final = (
    "connection.termination_details.startsWith('rbac_access_denied') || "
    "connection.transport_failure_reason != ''"
)


@dataclass(frozen=True, slots=True)
class Door:
    """The way to an external service (or a subset of it): asked for by ``server_name``."""

    server_name: str
    filters: Sequence[listener_components_pb2.Filter]
    transport: base_pb2.TransportSocket


def egress_listener(
    address: str, port: int, *, zone: str, zones: Iterable[tuple[str, str]], doors: Iterable[Door]
) -> listener_pb2.Listener:
    """Return the listener of a gateway of ``zone``.

    ``zones`` are the others and their trust domains.
    """
    result = by_name.gateway_listener(address, port, listener.TrafficDirection.OUTBOUND)
    for other, domain in zones:
        why = f"is no service that zone {other} lets be called, or no gateway of it answers"
        hosts = [sni("*", other, domain)]
        by_name.forward_by_name(result, hosts, _EGRESS, _line(why), name=f"zone:{other}")
    for door in doors:
        chain = result.filter_chains.add(name=door.server_name)
        chain.filter_chain_match.server_names.append(door.server_name)
        chain.filters.extend(door.filters)
        chain.transport_socket.CopyFrom(door.transport)
    why = f"is neither in another zone nor an external service of zone {zone} that leaves by egress"
    result.default_filter_chain.filters.append(
        listener.tcp_proxy(_EGRESS, NOBODY, log_format=_line(why))
    )
    result.access_log.append(_refusals())
    return result


def forward(name: str, service: str) -> listener_components_pb2.Filter:
    """Pass a connection for ``service`` on to the cluster ``name`` once its caller is known."""
    return listener.tcp_proxy(
        _EGRESS,
        name,
        after_handshake=True,
        attempts=by_name.ATTEMPTS,
        log_format=_line(f"is {service}, of which no host outside answers"),
        log_failures_only=True,
    )


def outside(
    name: str, external: External, protocol: Protocol, *, discovered: bool
) -> cluster_pb2.Cluster:
    """Return the cluster of an external service.

    With ``discovered`` its hosts, all of them IP literals, come over ADS.
    """
    built: cluster_pb2.Cluster = cluster.of_destination(
        Destination(Selection(Target(name)), protocol, _SETTINGS, external=external), _nobody
    )
    if discovered:
        built.type = cluster_pb2.Cluster.EDS
        built.ClearField("load_assignment")
        built.eds_cluster_config.eds_config.CopyFrom(from_ads())
    return built


def beyond(name: str) -> cluster_pb2.Cluster:
    """Return the cluster ``name`` of a service in another zone: the gateways there."""
    built: cluster_pb2.Cluster = cluster.of_workload(name)
    cluster.notice_silence(built)
    return built


def _nobody(target: Target) -> WorkloadId:
    raise AssertionError(f"{target.name} is outside: nobody there has an identity")


def _refusals() -> accesslog_pb2.AccessLog:
    """Tell of callers whom intentions, or the handshake, sent away."""
    log = listener.stdout(
        "[%START_TIME%] refused: mesh: egress: %DOWNSTREAM_PEER_URI_SAN% at "
        "%DOWNSTREAM_REMOTE_ADDRESS% may not call %REQUESTED_SERVER_NAME%: no intention allows it "
        "(%CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%)\n"
    )
    expression = cel_pb2.ExpressionFilter(expression=_REFUSED)
    log.filter.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    log.filter.extension_filter.typed_config.CopyFrom(typed(expression))
    return log


def _line(why: str) -> str:
    return (
        "[%START_TIME%] refused: mesh: egress: the name %REQUESTED_SERVER_NAME% that "
        f"%DOWNSTREAM_REMOTE_ADDRESS% asks for {why} (%RESPONSE_FLAGS%)\n"
    )
