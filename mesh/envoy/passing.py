"""Which captured connections pass, cut up the way Envoy looks for a filter chain.

Envoy asks for the port first, then for the smallest block of addresses, then for what is spoken,
and never goes back: once some chain names a port, chains without a port are out of the question
for it, and so with addresses.  So whatever passes at any port is said again for each port that is
named, and whatever passes in a block again for each block inside.  Blocks where the same may be
said go together.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/\
listener_components.proto, "FilterChainMatch".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mesh.model.passthrough import HostKind, HostProtocol, PassthroughMatch

Block = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be said.  HTTP2 is gRPC's too: on the wire there is no difference."""

    protocols: frozenset[HostProtocol] = frozenset()
    """Whatever host it is for; TCP is anything at all, and then nothing else is listed."""
    names: frozenset[tuple[HostProtocol, str]] = frozenset()
    """Only to these domains."""

    def domains(self, protocol: HostProtocol) -> list[str]:
        """Return the domains to which ``protocol`` may be spoken."""
        return sorted(domain for spoken, domain in self.names if spoken is protocol)

    def looks_at(self, *protocols: HostProtocol) -> bool:
        """Whether it must be found out if one of ``protocols`` is spoken."""
        named = {protocol for protocol, _ in self.names}
        return not (self.protocols | named).isdisjoint(protocols)


_NOTHING: Final = Allowed()


@dataclass(frozen=True, slots=True)
class Passage:
    """Where something may be said: a port (None: each that no passage names), and addresses.

    An address belongs to the smallest block that is named for the port.
    """

    port: int | None
    blocks: tuple[Block, ...]
    allowed: Allowed


EVERYWHERE: Final[tuple[Block, ...]] = (
    ipaddress.IPv4Network("0.0.0.0/0"),
    ipaddress.IPv6Network("::/0"),
)


def passages(
    matches: Sequence[PassthroughMatch], *, own_port: int, own: Collection[Block]
) -> Iterator[Passage]:
    """Yield what ``matches`` let through, at most one passage for a connection.

    At ``own_port`` of the addresses ``own`` the proxy itself listens; nothing passes to there.
    """
    blocks = {match: _blocks(match) for match in matches}
    ports = sorted({match.port for match in matches if match.port is not None} | {own_port})
    for port in (*ports, None):
        here = [match for match in matches if match.port is None or match.port == port]
        named = {block for match in here for block in (*blocks[match], *EVERYWHERE)}
        grouped: dict[Allowed, list[Block]] = {}
        for block in sorted(named, key=_order):
            if port == own_port and is_within(block, own):
                continue
            allowed = _allowed([match for match in here if is_within(block, blocks[match])])
            grouped.setdefault(allowed, []).append(block)
        for allowed, together in grouped.items():
            if allowed != _NOTHING:
                yield Passage(port, tuple(together), allowed)


def _allowed(matches: Sequence[PassthroughMatch]) -> Allowed:
    protocols = frozenset(
        _on_the_wire(match) for match in matches if match.kind is not HostKind.DOMAIN
    )
    if HostProtocol.TCP in protocols:
        return Allowed(frozenset({HostProtocol.TCP}))
    names = frozenset(
        (_on_the_wire(match), match.value)
        for match in matches
        if match.kind is HostKind.DOMAIN and _on_the_wire(match) not in protocols
    )
    return Allowed(protocols, names)


def _on_the_wire(match: PassthroughMatch) -> HostProtocol:
    return HostProtocol.HTTP2 if match.protocol is HostProtocol.GRPC else match.protocol


def _blocks(match: PassthroughMatch) -> tuple[Block, ...]:
    """Return the addresses that ``match`` names; a domain may be anywhere."""
    if match.kind is HostKind.DOMAIN:
        return EVERYWHERE
    return (ipaddress.ip_network(match.value),)


def is_within(block: Block, outer: Collection[Block]) -> bool:
    """Whether ``block`` lies in one of ``outer``."""
    if isinstance(block, ipaddress.IPv4Network):
        return any(isinstance(one, ipaddress.IPv4Network) and block.subnet_of(one) for one in outer)
    return any(isinstance(one, ipaddress.IPv6Network) and block.subnet_of(one) for one in outer)


def _order(block: Block) -> tuple[int, int, int]:
    return block.version, int(block.network_address), block.prefixlen
