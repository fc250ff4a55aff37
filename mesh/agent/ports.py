"""Is the place free where the proxy shall listen?  Asked before Envoy is started.

Envoy would say it too, but from within: a listener that came from the zone and cannot be bound is
refused there, and the proxy waits for ever with a line in Envoy's log.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

from mesh.agent.errors import PortTakenError
from mesh.model.proxies import ProxyNeed


def check_free(need: ProxyNeed) -> None:
    """Try every port that ``need`` will have Envoy listen on.

    Raises:
        PortTakenError: with all that are taken.

    """
    taken = [
        f"{what} ({address}:{port})"
        for what, address, port, kind in _places(need)
        if not _is_free(address, port, kind)
    ]
    if taken:
        raise taken_error(taken)


def taken_error(taken: list[str]) -> PortTakenError:
    """Return the error for places that somebody else has."""
    return PortTakenError(
        f"already taken by another program: {', '.join(taken)}",
        "See who it is with `ss -ltunp`, and stop it or give this proxy other ports.",
    )


def own_address_towards(host: str, port: int) -> str:
    """Return the address of this machine from which ``host`` is reached.

    Nothing is sent: connecting a datagram socket only asks the routing table.

    Raises:
        OSError: ``host`` has no address, or there is no route.

    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _places(need: ProxyNeed) -> Iterable[tuple[str, str, int, socket.SocketKind]]:
    if need.inbound is not None:
        yield "inbound", need.inbound.address, need.inbound.port, socket.SOCK_STREAM
    if need.capture is not None:
        for address in need.capture.addresses:
            yield "capture", address, need.capture.port, socket.SOCK_STREAM
    if need.dns is not None:
        for address in need.dns.addresses:
            yield "names", address, need.dns.port, socket.SOCK_DGRAM
    for upstream in need.upstreams:
        yield f"upstream {upstream.service}", upstream.address, upstream.port, socket.SOCK_STREAM


def _is_free(address: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, kind)) as probe:
        if kind is socket.SOCK_STREAM:
            # As Envoy does; without it, connections of before that linger would count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
