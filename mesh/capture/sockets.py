"""Which sockets this host has, read from ``/proc/net`` (proc(5))."""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from mesh.capture.errors import CaptureError

_TABLES: Final = ("tcp", "tcp6", "udp", "udp6")
_V4_DIGITS: Final = 8
_RETRANSMITTING: Final = 1


class State(enum.IntEnum):
    """States of a TCP socket, as the kernel numbers them; UDP sockets are CLOSE until connected."""

    ESTABLISHED = 1
    CLOSE = 7
    LISTEN = 10


@dataclass(frozen=True, slots=True)
class Place:
    """An address and a port; an IPv4 address within IPv6 is given as IPv4."""

    address: IPv4Address | IPv6Address
    port: int


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket.  ``stuck`` tells that what it sent is being sent again, unanswered."""

    protocol: str
    local: Place
    remote: Place
    state: int
    stuck: bool


def sockets(directory: Path = Path("/proc/self/net")) -> list[Socket]:
    """Return the TCP and UDP sockets of this network namespace.

    Raises:
        CaptureError: they cannot be read.

    """
    found: list[Socket] = []
    for table in _TABLES:
        file = directory / table
        try:
            text = file.read_text(encoding="ascii")
        except FileNotFoundError:
            # A kernel without IPv6.
            continue
        except OSError as error:
            raise CaptureError(
                f"{file} cannot be read: {error.strerror}", remedy="see that /proc is mounted"
            ) from error
        found += parse(text, table[:3])
    return found


def parse(text: str, protocol: str) -> Iterator[Socket]:
    """Read one of the tables."""
    for line in text.splitlines()[1:]:
        _, local, remote, state, _, timer, retransmissions, *_ = line.split()
        kind = int(timer.partition(":")[0], 16)
        stuck = kind == _RETRANSMITTING and int(retransmissions, 16) > 0
        yield Socket(protocol, _place(local), _place(remote), int(state, 16), stuck)


def listens(found: Sequence[Socket], protocol: str, port: int, address: str) -> bool:
    """Tell whether somebody takes what comes to ``address`` (an IP literal) and ``port``."""
    family = 6 if ":" in address else 4
    for each in found:
        if each.protocol != protocol or each.local.port != port or each.remote.port:
            continue
        if protocol == "tcp" and each.state != State.LISTEN:
            continue
        bound = each.local.address
        # Whether one on :: takes IPv4 too is not told here; nearly all do.
        if str(bound) == address or (bound.is_unspecified and bound.version in {family, 6}):
            return True
    return False


def _place(text: str) -> Place:
    digits, _, port = text.partition(":")
    # Words of 32 bits, each in the order of this machine.
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(digits) == _V4_DIGITS:
        return Place(IPv4Address(packed), int(port, 16))
    found = IPv6Address(socket.inet_ntop(socket.AF_INET6, packed))
    return Place(found.ipv4_mapped or found, int(port, 16))
