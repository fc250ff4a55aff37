"""The listener of a zone's gateway: TLS that is looked at and never ended."""

from __future__ import annotations

from typing import Final

from envoy.config.listener.v3 import listener_pb2

from mesh.envoy import by_name, listener
from mesh.envoy.cluster import NOBODY
from mesh.model.identity import ZoneId
from mesh.model.names import sni

_GATEWAY: Final = "gateway"
_PEERING: Final = "peering"


def gateway_listener(
    address: str, port: int, *, zone: str, trust_domain: str, control_plane: str = ""
) -> listener_pb2.Listener:
    """Return the listener that sends connections to the cluster named as they ask.

    Only names of services of ``zone`` are looked up: no other cluster of the proxy can be asked
    for.  With a ``control_plane``, which is a cluster's name, those who ask for the peering with
    the zone are sent there; there is no way through here to the rest of its API.
    """
    result = by_name.gateway_listener(address, port, listener.TrafficDirection.INBOUND)
    why = f"is no service of zone {zone} that others may call, or nobody answers for it"
    by_name.forward_by_name(result, [sni("*", zone, trust_domain)], _GATEWAY, _line(why))
    if control_plane:
        asked = ZoneId(trust_domain, zone).peering_name()
        peering = result.filter_chains.add()
        peering.filter_chain_match.server_names.extend([asked, f"*.{asked}"])
        forward = listener.tcp_proxy(_PEERING, control_plane, attempts=by_name.ATTEMPTS)
        peering.filters.append(forward)
    other = _line(f"is not for zone {zone}")
    result.default_filter_chain.filters.append(
        listener.tcp_proxy(_GATEWAY, NOBODY, log_format=other)
    )
    return result


def _line(why: str) -> str:
    return (
        "[%START_TIME%] refused: mesh: gateway: the name %REQUESTED_SERVER_NAME% that "
        f"%DOWNSTREAM_REMOTE_ADDRESS% asks for {why} (%RESPONSE_FLAGS%)\n"
    )
