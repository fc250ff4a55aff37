"""The plan as one nftables table, which is loaded in one transaction.

Chains that the kernel enters by itself, and their priorities (the lower is first):

=========  ===================  ====  =====================================================
names      filter output        -150  refuses questions that the flow of another name carries
outbound   nat output           -110  redirects what applications send
inbound    nat prerouting       -110  redirects what reaches an application's port
around     filter input          -10  refuses what reached that port by another way
=========  ===================  ====  =====================================================

-110 is before docker's and kube-proxy's nat chains (-100) and firewalld's (-90): the kernel
translates a connection once, and the first to do so wins.
Only packets that open a connection are redirected.  Without that, a connection from before the
table was loaded would be taken for a new one as soon as the kernel, which tracks connections only
where somebody asks it to, sees the next packet of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Final

from mesh.capture.plan import ROOT, Names, Plan, Taker, by_precedence, depth
from mesh.config.capture import SSH_PORT

NAME: Final = "mesh"
"""The table's name; its family is inet."""
_OPENING: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_UDP_HEADER: Final = 8
_DNS_HEADER: Final = 12
_FIRST_DOMAIN: Final = _UDP_HEADER + _DNS_HEADER + 2
"""Where the domain begins at the earliest, from the UDP header on: after a label of one letter."""
_LAST_DOMAIN: Final = _UDP_HEADER + _DNS_HEADER + 2 * 64
"""Where it begins at the latest: after two labels of 63, ``<service>.<zone>``."""
_COMMENT: Final = 120
"""How long a comment may be; nftables takes 128."""


def replacement(plan: Plan) -> str:
    """Return the script that puts the table in the place of the one before, all or nothing."""
    return f"{removal()}{table(plan)}"


def removal(name: str = NAME) -> str:
    """Return the script that removes the table, whether or not it is there."""
    return f"table inet {name}\ndelete table inet {name}\n"


def table(plan: Plan, *, name: str = NAME, dormant: bool = False) -> str:
    """Return the table.  A ``dormant`` one does nothing: it is there to be read back."""
    parts = [f"table inet {name} {{"]
    if dormant:
        parts.append("flags dormant")
    for chain, lines in _chains(plan):
        parts += [f"chain {chain} {{", *lines, "}"]
    return "\n".join([*parts, "}"]) + "\n"


def _chains(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    if plan.names is not None:
        yield "ask", list(_ask(plan.names))
        yield "below", list(_below(plan.names))
        yield "names", list(_names(plan.names, plan.own))
    for taker in plan.takers:
        yield f"take-{taker.service}", list(_take(plan, taker))
    if plan.takers or plan.names is not None:
        yield "outbound", list(_outbound(plan))
    if plan.entrances:
        yield "inbound", list(_inbound(plan))
        yield "around", list(_around(plan))


def _ask(names: Names) -> Iterator[str]:
    """The kernel comes here once per flow, where it decides how to translate it."""
    for match in _is_below(names):
        yield f"{match} counter redirect to :{names.port}"


def _names(names: Names, own: int) -> Iterator[str]:
    """It comes here with every packet, for a program may ask for many names from one socket.

    Whoever is refused asks again, from another socket.
    """
    yield "type filter hook output priority -150; policy accept;"
    yield "udp dport != 53 return"
    yield f"meta skuid {own} return"
    for match in _is_below(names):
        yield f"{match} goto below"
    said = f'comment "another name after *.{names.domain}: asked again"'
    yield f"meta l4proto udp ct reply proto-src {names.port} counter reject {said}"


def _below(names: Names) -> Iterator[str]:
    said = f'comment "*.{names.domain} after another name: asked again"'
    theirs = f"ct status confirmed ct reply proto-src != {names.port}"
    yield f"meta l4proto udp {theirs} counter reject {said}"


def _take(plan: Plan, taker: Taker) -> Iterator[str]:
    end = f"counter redirect to :{taker.port}"
    if taker.to_all:
        yield f'meta l4proto tcp {end} comment "{taker.service}: to everywhere"'
        return
    said = f'comment "{taker.service}: to the mesh"'
    for block in plan.virtual:
        family = "ip" if isinstance(block, IPv4Network) else "ip6"
        yield f"{family} daddr {block} meta l4proto tcp {end} {said}"


def _outbound(plan: Plan) -> Iterator[str]:
    yield "type nat hook output priority -110; policy accept;"
    if plan.names is not None:
        yield f"udp dport 53 meta skuid != {plan.own} jump ask"
    yield "meta l4proto != tcp return"
    yield f"{_OPENING.replace('==', '!=')} return"
    yield 'oifname "lo" return'
    if plan.exempt:
        yield f"meta skuid {_set(plan.exempt)} return"
    yield f"tcp dport {_set(plan.ports)} return"
    # Blocks that overlap would not be a set.
    ipv4 = collapse_addresses(each for each in plan.networks if isinstance(each, IPv4Network))
    ipv6 = collapse_addresses(each for each in plan.networks if isinstance(each, IPv6Network))
    yield f"ip daddr {_set(ipv4)} return"
    yield f"ip6 daddr {_set(ipv6)} return"
    for whose, taker in by_precedence(plan.takers):
        yield f"{_belongs(whose)} goto take-{taker.service} {_comment(whose, taker)}"


def _belongs(whose: str | tuple[int, ...] | None) -> str:
    if whose is None:
        # No match either where there is no user, as for the kernel's own connections.
        return f"meta skuid != {ROOT}"
    if isinstance(whose, str):
        return f'socket cgroupv2 level {depth(whose)} "{whose}"'
    return f"meta skuid {_set(whose)}"


def _comment(whose: str | tuple[int, ...] | None, taker: Taker) -> str:
    if whose is None:
        said = "everybody else"
    elif isinstance(whose, str):
        said = f"cgroup {whose}"
    else:
        said = f"users {', '.join(map(str, whose))}"
    text = f"{taker.service}: {said}"
    return f'comment "{text if len(text) <= _COMMENT else text[: _COMMENT - 1] + "~"}"'


def _inbound(plan: Plan) -> Iterator[str]:
    yield "type nat hook prerouting priority -110; policy accept;"
    yield 'iifname "lo" return'
    yield "meta l4proto != tcp return"
    yield f"{_OPENING.replace('==', '!=')} return"
    # What is only forwarded is somebody else's.
    yield "fib daddr type != local return"
    yield f"tcp dport {SSH_PORT} return"
    for each in plan.entrances:
        said = f'comment "{each.service}: port {each.port}"'
        yield f"tcp dport {each.port} counter redirect to :{each.to} {said}"


def _around(plan: Plan) -> Iterator[str]:
    """Whatever else translates connections, or translated them earlier: the port stays closed."""
    yield "type filter hook input priority -10; policy accept;"
    yield 'iifname "lo" return'
    ports = _set(each.port for each in plan.entrances)
    said = 'comment "around the proxy: refused"'
    yield f"tcp dport {ports} {_OPENING} counter reject with tcp reset {said}"


def _is_below(names: Names) -> Iterator[str]:
    """Yield a match for each place at which the question's name can end in the domain.

    Letters are compared without their case (RFC 4343): the bit that tells it is masked out.
    """
    wire = bytes([len(names.domain)]) + names.domain.encode() + b"\0"
    mask = bytes(0xDF if chr(each).isalpha() and at else 0xFF for at, each in enumerate(wire))
    wanted = bytes(one & other for one, other in zip(wire, mask, strict=True))
    for offset in range(_FIRST_DOMAIN, _LAST_DOMAIN + 1):
        place = f"@th,{offset * 8},{len(wire) * 8}"
        yield f"meta l4proto udp {place} & 0x{mask.hex()} == 0x{wanted.hex()}"


def _set(values: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, values))} }}"
