"""Zones in networks of their own, and between every two a link that can be slowed or cut.

::

    10.N.1.0/24                          10.N.2.0/24
    ┌ a ─────────┐        wan-b   wan-a  ┌ b ─────────┐
    │ all .1–.254├───────────────────────┤ all .1–.254│      and likewise to c, each to each
    └──────┬─────┘                       └──────┬─────┘
           │ outside                            │ outside
       mzN-a└──────────── 10.N.0.1 ─────────────┘mzN-b        the test process

A zone reaches another over their own link and no other way, whatever else is cut.  The test
process reaches every address of every zone, always, and zones reach what listens on
:attr:`Network.outside`.  Packets are dropped where they arrive, so that the sender learns
nothing: a cut link is silent.  A slow link goes through :mod:`tests.zones.wire` instead.

Needs root, ``ip`` and ``nft``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mesh.demo.hosts import Host
from tests.zones import namespaces
from tests.zones.namespaces import ip, run

_ROOT: Final = Path(__file__).parents[2]
_BLOCKS: Final = range(61, 96)
"""What may stand for N in ``10.N.0.0/16``: one block for each network of this machine."""
_FIRST_PORT: Final = 20_000
"""Ports are counted up from here, below those that the kernel gives to callers."""
_ACROSS: Final = 10
"""A zone's address on its way to the test process is this and its number."""


class Network:
    """The zones' networks.  An asynchronous context manager; nothing is left when it ends."""

    def __init__(self, zones: Sequence[str] = ("a", "b", "c")) -> None:
        """Name the zones: a few letters each, for they stand in names of devices."""
        self.zones = tuple(zones)
        self._numbers = {zone: number for number, zone in enumerate(self.zones, 1)}
        self._block = 0
        self._lost: dict[str, set[str]] = {zone: set() for zone in self.zones}
        """From whom a zone gets nothing."""
        self._wires: dict[frozenset[str], asyncio.subprocess.Process] = {}
        self._ports: dict[str, Iterator[int]] = {
            zone: itertools.count(_FIRST_PORT) for zone in self.zones
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make everything, after removing what crashed runs left."""
        await namespaces.remove_leftovers()
        try:
            await self._claim_block()
            for zone in self.zones:
                await self._make(zone)
            for one, other in itertools.combinations(self.zones, 2):
                await self._link(one, other)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End what runs inside and remove everything."""
        await self._stack.aclose()

    @property
    def outside(self) -> str:
        """Address of the test process, as every zone sees it, always reachable."""
        return f"10.{self._block}.0.1"

    def namespace(self, zone: str) -> str:
        """Return the name of the zone's namespace."""
        assert zone in self._numbers, f"no zone {zone!r}"
        return namespaces.called(self._block, zone)

    def prefix(self, zone: str) -> list[str]:
        """Return what to put before a command that is to run in the zone."""
        return ["ip", "netns", "exec", self.namespace(zone)]

    def subnet(self, zone: str) -> str:
        """Return the zone's network; every address in it is the zone's own."""
        return f"10.{self._block}.{self._numbers[zone]}.0/24"

    def address(self, zone: str, host: int = 1) -> str:
        """Return an address of the zone, 1 to 254; all exist, and 1 is what it calls from."""
        return f"10.{self._block}.{self._numbers[zone]}.{host}"

    def free_ports(self, zone: str, count: int) -> list[int]:
        """Return ports that nobody was given before in the zone."""
        return list(itertools.islice(self._ports[zone], count))

    def host(self, zone: str, number: int = 1) -> Host:
        """Return an address of the zone as a place for an estate."""
        return Host(
            self.address(zone, number),
            tuple(self.prefix(zone)),
            lambda count: self.free_ports(zone, count),
        )

    def open_socket(
        self, zone: str, kind: socket.SocketKind = socket.SOCK_STREAM, host: int = 1
    ) -> socket.socket:
        """Open a socket in the zone, bound to one of its addresses; the caller closes it."""
        opened = namespaces.socket_in(self.namespace(zone), kind)
        opened.bind((self.address(zone, host), 0))
        return opened

    async def delay(self, one: str, other: str, milliseconds: float) -> None:
        """Let every packet between two zones take so long; there and back takes twice that.

        What is connected stays connected.  0 makes the link as fast as it was.
        """
        link = frozenset((one, other))
        if milliseconds:
            if link not in self._wires:
                self._wires[link] = await self._wire(one, other)
            # The first packet must not be quicker than what was asked for.
            await _say(self._wires[link], milliseconds)
        elif link not in self._wires:
            return
        device = "slow" if milliseconds else "wan"
        for zone, peer in ((one, other), (other, one)):
            await ip(self._way(zone, peer, device), namespace=self.namespace(zone))

    async def cut(self, one: str, other: str) -> None:
        """Lose every packet between two zones, silently; their delay is kept for later."""
        await self._lose({one: {other}, other: {one}})

    async def cut_one_way(self, source: str, target: str) -> None:
        """Lose what ``source`` sends to ``target``; the other way stays as it is."""
        await self._lose({target: {source}})

    async def heal(self, one: str, other: str) -> None:
        """Lose nothing between two zones any more."""
        await self._get({one: {other}, other: {one}})

    async def isolate(self, zone: str) -> None:
        """Cut a zone from all others, not from the test process."""
        await self._lose(self._links(zone))

    async def rejoin(self, zone: str) -> None:
        """Heal all links of a zone."""
        await self._get(self._links(zone))

    def _links(self, zone: str) -> dict[str, set[str]]:
        others = set(self.zones) - {zone}
        return {zone: others, **{other: {zone} for other in others}}

    async def _lose(self, news: dict[str, set[str]]) -> None:
        for zone, sources in news.items():
            self._lost[zone] |= sources
        await self._filter(*news)

    async def _get(self, news: dict[str, set[str]]) -> None:
        for zone, sources in news.items():
            self._lost[zone] -= sources
        await self._filter(*news)

    async def _filter(self, *zones: str) -> None:
        await asyncio.gather(*(self._nft(zone, *self._lines(self._lost[zone])) for zone in zones))

    def _lines(self, lost: set[str]) -> list[str]:
        listed = ", ".join(self.subnet(each) for each in sorted(lost))
        add = [f"add element ip mesh lost {{ {listed} }}"] if lost else []
        return ["flush set ip mesh lost", *add]

    async def _nft(self, zone: str, *lines: str) -> None:
        await run(*self.prefix(zone), "nft", "-f", "-", text="\n".join((*lines, "")))

    async def _claim_block(self) -> None:
        """Take addresses that neither this machine nor another network on it uses."""
        routes = json.loads(await run("ip", "-json", "-4", "route", "show"))
        # What a crashed run left may be on its way out still.
        used = [ipaddress.IPv4Network(each["dst"]) for each in routes if each["dst"] != "default"]
        for block in _BLOCKS:
            wanted = ipaddress.IPv4Network(f"10.{block}.0.0/16")
            if any(each.subnet_of(wanted) for each in used):
                continue
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0mesh-zones-{block}")
            except OSError:
                claim.close()
                continue
            self._stack.callback(claim.close)
            self._block = block
            return
        raise AssertionError(f"no 10.N.0.0/16 is free, N from {_BLOCKS[0]} to {_BLOCKS[-1]}")

    async def _make(self, zone: str) -> None:
        name, device = self.namespace(zone), f"mz{self._block}-{zone}"
        across = f"10.{self._block}.0.{_ACROSS + self._numbers[zone]}"
        await ip(f"netns add {name}")
        self._stack.push_async_callback(namespaces.remove, name)
        await ip(f"link add {device} type veth peer name outside netns {name}")
        await ip(
            f"address add {self.outside} peer {across}/32 dev {device}",
            f"link set {device} up",
            f"route add {self.subnet(zone)} dev {device} src {self.outside}",
        )
        await ip(
            "link set lo up",
            # On loopback, all of the network is local.
            f"address add {self.address(zone)}/24 dev lo",
            f"address add {across} peer {self.outside}/32 dev outside",
            "link set outside up",
            namespace=name,
        )
        await self._nft(
            zone,
            "table ip mesh {",
            "set lost { type ipv4_addr; flags interval; }",
            "chain arriving { type filter hook prerouting priority raw; ip saddr @lost drop; }",
            "}",
        )

    async def _link(self, one: str, other: str) -> None:
        here, there = self.namespace(one), self.namespace(other)
        await ip(f"link add wan-{other} netns {here} type veth peer name wan-{one} netns {there}")
        for zone, peer in ((one, other), (other, one)):
            await ip(
                f"link set wan-{peer} up",
                self._way(zone, peer, "wan"),
                namespace=self.namespace(zone),
            )

    def _way(self, zone: str, peer: str, device: str) -> str:
        source = self.address(zone)
        return f"route replace {self.subnet(peer)} dev {device}-{peer} src {source}"

    async def _wire(self, one: str, other: str) -> asyncio.subprocess.Process:
        ends = ((one, other), (other, one))
        places = [f"{self.namespace(zone)} slow-{peer}".split() for zone, peer in ends]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.zones.wire", *places[0], *places[1]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
        )
        self._stack.push_async_callback(_end, process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n", "no TUN device; see above"
        for zone, peer in ends:
            await ip(f"link set slow-{peer} up", namespace=self.namespace(zone))
        return process


async def _say(wire: asyncio.subprocess.Process, milliseconds: float) -> None:
    assert wire.stdin is not None
    wire.stdin.write(f"{milliseconds}\n".encode())
    await wire.stdin.drain()


async def _end(wire: asyncio.subprocess.Process) -> None:
    """End a wire by ending its input; what it has printed is taken, so that its pipe closes."""
    with suppress(ProcessLookupError, ConnectionError):
        await wire.communicate(b"")
