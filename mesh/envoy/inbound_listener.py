"""The mesh's listener while plain text is let in too (``PERMISSIVE``), for migration.

Envoy looks at the first bytes of a connection.  What begins a TLS handshake meets the filters that
it would meet otherwise; anything else meets the filters that are given for it, and only those.  A
peer that waits for the server to speak first is taken for plain text after a moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from mesh.envoy import listener

_PATIENCE: Final = 1.0
"""Seconds in which the first bytes must come."""


def permissive(
    name: str,
    *,
    address: str,
    port: int,
    filters: Sequence[listener_components_pb2.Filter],
    plain_filters: Sequence[listener_components_pb2.Filter],
    transport: base_pb2.TransportSocket,
) -> listener_pb2.Listener:
    """Return the listener: ``filters`` behind TLS by ``transport``, ``plain_filters`` without."""
    result = listener.listener(
        name,
        address=address,
        port=port,
        filters=filters,
        direction=listener.TrafficDirection.INBOUND,
        transport=transport,
    )
    (secure,) = result.filter_chains
    secure.name = "tls"
    secure.filter_chain_match.transport_protocol = "tls"
    plain = result.filter_chains.add(name="plain", filters=plain_filters)
    plain.filter_chain_match.transport_protocol = "raw_buffer"
    listener.inspect_tls(result, patience=_PATIENCE)
    result.continue_on_listener_filters_timeout = True
    return result
