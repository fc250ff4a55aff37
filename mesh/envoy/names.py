"""The listener that tells the virtual addresses of services by name, over UDP.

It knows its table and nothing else: whatever else it is asked does not exist (NXDOMAIN), so it must
be asked for names of the mesh only.  Envoy compares names byte by byte.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/udp_filters/dns_filter
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2

from mesh.envoy import listener
from mesh.envoy.proto import duration, typed
from mesh.model.proxies import Capture

NAMES: Final = "names"
"""The listener's name."""
_TTL: Final = 30
"""Seconds for which an answer may be kept: the least that Envoy takes."""


def names_listener(place: Capture, table: Mapping[str, tuple[str, ...]]) -> listener_pb2.Listener:
    """Return the listener that answers for the names in ``table`` with their addresses."""
    config = dns_filter_pb2.DnsFilterConfig(stat_prefix=NAMES)
    found = config.server_config.inline_dns_table
    for name, addresses in sorted(table.items()):
        domain = found.virtual_domains.add(name=name, answer_ttl=duration(_TTL))
        domain.endpoint.address_list.address.extend(addresses)
    result = listener_pb2.Listener(name=NAMES, address=_udp(place.address, place.port))
    if place.also:
        result.additional_addresses.add().address.CopyFrom(_udp(place.also, place.port))
    result.listener_filters.add(name="envoy.filters.udp.dns_filter", typed_config=typed(config))
    return result


def _udp(address: str, port: int) -> address_pb2.Address:
    found = listener.socket_address(address, port)
    found.socket_address.protocol = address_pb2.SocketAddress.UDP
    return found
