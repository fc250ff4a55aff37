"""What the table does with a packet: the plan read as the kernel reads the table.

The tests hold it against the kernel.  ``mesh capture apply`` asks it whether the connection that it
runs over could still be made.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from mesh.capture.plan import ROOT, Plan, Taker, by_precedence
from mesh.config.capture import SSH_PORT

DNS_PORT: Final = 53
"""Where questions for names go."""


class Protocol(enum.StrEnum):
    """What carries the packet."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Outbound:
    """A packet that a process of this host sends.

    ``loopback`` tells that it stays on this host; ``opening`` that it opens its connection;
    ``question`` is the name that it asks for, if it is for port 53.  ``uid`` is None for what the
    kernel itself sends, as for a network file system.
    """

    address: IPv4Address | IPv6Address
    port: int
    uid: int | None
    protocol: Protocol = Protocol.TCP
    cgroup: str = ""
    loopback: bool = False
    opening: bool = True
    question: str = ""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A packet that reaches this host; ``local`` tells that it is for one of its addresses."""

    port: int
    protocol: Protocol = Protocol.TCP
    loopback: bool = False
    local: bool = True
    opening: bool = True


def verdict(plan: Plan, packet: Outbound | Inbound) -> int | None:
    """Return the port of the proxy that ``packet`` is redirected to; None if it is left alone."""
    if isinstance(packet, Inbound):
        return _inbound(plan, packet)
    if packet.protocol is Protocol.UDP:
        return _question(plan, packet)
    if not packet.opening or packet.loopback or packet.uid in plan.exempt:
        return None
    if packet.port in plan.ports or any(packet.address in each for each in plan.networks):
        return None
    taker = taker_of(plan, packet)
    is_virtual = any(packet.address in each for each in plan.virtual)
    return taker.port if taker is not None and (taker.to_all or is_virtual) else None


def taker_of(plan: Plan, packet: Outbound) -> Taker | None:
    """Return the proxy that a connection belongs to, wherever it goes."""
    for whose, taker in by_precedence(plan.takers):
        if whose is None:
            matches = packet.uid is not None and packet.uid != ROOT
        elif isinstance(whose, str):
            matches = f"{packet.cgroup}/".startswith(f"{whose}/")
        else:
            matches = packet.uid in whose
        if matches:
            return taker
    return None


def is_below(name: str, domain: str) -> bool:
    """Tell whether ``name`` is below ``domain``, in whichever case."""
    return name.lower().rstrip(".").endswith(f".{domain}")


def _question(plan: Plan, packet: Outbound) -> int | None:
    if plan.names is None or packet.port != DNS_PORT or packet.uid in {None, plan.own}:
        return None
    return plan.names.port if is_below(packet.question, plan.names.domain) else None


def _inbound(plan: Plan, packet: Inbound) -> int | None:
    if packet.protocol is not Protocol.TCP or packet.loopback or not packet.local:
        return None
    if not packet.opening or packet.port == SSH_PORT:
        return None
    return next((each.to for each in plan.entrances if each.port == packet.port), None)
