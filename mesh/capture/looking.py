"""What is loaded, in words, and whether it is what was planned and can work."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from mesh.capture.plan import Names, Plan
from mesh.capture.sockets import Socket, listens

_ASKED: Final = "ask"
"""The chain that has a rule for each place at which a name may end."""
_V4: Final = 4
_DISCARD: Final = 9
_LOOPBACK: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One thing that the table does: ``packets`` that it did it to, ``port`` where they went."""

    chain: str
    what: str
    port: int | None
    packets: int


@dataclass(frozen=True, slots=True)
class Deaf:
    """A port that something is redirected to, and where nobody listens."""

    service: str
    protocol: str
    port: int
    addresses: tuple[str, ...]

    @property
    def entirely(self) -> bool:
        """Whether nobody listens there for IPv4 either."""
        return _LOOPBACK[0] in self.addresses


def loaded(objects: Sequence[dict[str, Any]]) -> list[Loaded]:
    """Read what the loaded table does from nft's JSON (libnftables-json(5))."""
    found: list[Loaded] = []
    asked = Loaded("names", "questions for names of the mesh", None, 0)
    for rule in (each["rule"] for each in objects if "rule" in each):
        parts = {name: value for part in rule["expr"] for name, value in part.items()}
        if "counter" not in parts:
            continue
        port = parts["redirect"]["port"] if parts.get("redirect") else None
        packets = parts["counter"]["packets"]
        if rule["chain"] == _ASKED:
            asked = Loaded("names", asked.what, port, asked.packets + packets)
        else:
            found.append(Loaded(rule["chain"], rule.get("comment", ""), port, packets))
    return [*found, *([asked] if asked.port is not None else [])]


def deaf(plan: Plan, found: Sequence[Socket]) -> Iterator[Deaf]:
    """Yield the ports of proxies where nobody listens, for which of the addresses."""
    ports = {(each.service, "tcp", each.port) for each in plan.takers}
    ports |= {(each.service, "tcp", each.to) for each in plan.entrances}
    if plan.names is not None:
        ports.add(("the proxy with dns", "udp", plan.names.port))
    for service, protocol, port in sorted(ports):
        addresses = tuple(each for each in _LOOPBACK if not listens(found, protocol, port, each))
        if addresses and not _is_elsewhere(found, plan, port, addresses):
            yield Deaf(service, protocol, port, addresses)


def unroutable(plan: Plan) -> Iterator[str]:
    """Yield the blocks of virtual addresses that this host has no route to.

    A connection to one fails before the table sees it.
    """
    for block in plan.virtual if plan.takers else ():
        family = socket.AF_INET if block.version == _V4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as opened:
            try:
                # Sends nothing: it finds the route.
                opened.connect((str(block[1]), _DISCARD))
            except OSError:
                yield str(block)


def unresolved(plan: Plan, names: Names, service: str) -> str:
    """Ask for ``service`` as any program does; return what is wrong, if anything is."""
    name = f"{service}.{names.domain}"
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(name, None)}
    except OSError as error:
        return f"{name} cannot be resolved: {error.strerror or error}"
    strange = sorted(
        each for each in found if not any(ip_address(each) in block for block in plan.virtual)
    )
    return f"{name} is {', '.join(strange)}: no address of the mesh" if strange else ""


def _is_elsewhere(
    found: Sequence[Socket], plan: Plan, port: int, addresses: tuple[str, ...]
) -> bool:
    """Tell whether a port for what comes from outside is listened on at some other address."""
    if port not in {each.to for each in plan.entrances}:
        return False
    heard = [each for each in found if each.protocol == "tcp" and each.local.port == port]
    return bool(heard) and addresses == _LOOPBACK
