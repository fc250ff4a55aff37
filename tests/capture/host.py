"""A host and a peer, each a network namespace, and listeners that tell where a connection arrived.

The peer has every address: whatever the host sends and keeps to itself arrives at the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mesh.capture.nft import Nft
from tests.zones import namespaces

APPS: Final = (22, 80, 443, 5432)
"""Ports that applications of the host listen on, on every address."""
CAPTURE: Final = (15001, 15011)
INBOUND: Final = (15006, 15016)
DNS: Final = 15053
ANSWERS: Final = {"proxy": "240.0.0.9", "app": "127.0.0.2", "peer": "198.51.100.1"}
"""What each place answers to a question for a name."""
LAN: Final = "192.0.2.2"
"""The host's address; the peer's ends in 1."""
LAN6: Final = "2001:db8::2"
LINK6: Final = "fe80::2"
_OURS: Final = f"mesh-t{os.getpid()}"
CGROUPS: Final = ("", _OURS, f"{_OURS}/web", f"{_OURS}/web/deep")
"""None, and some of this process, each in the one before."""
PLAIN: Final = 4000
"""A port of the peer that is for tests to listen on."""
_ALL: Final = 9
"""Where everything arrives at the peer."""
_ORIGINAL: Final = 80
"""SO_ORIGINAL_DST, and IP6T_SO_ORIGINAL_DST."""
_PEER_RULES: Final = f"""
table inet peer {{
    chain everything {{
        type nat hook prerouting priority -100;
        tcp dport {PLAIN} return
        meta l4proto tcp redirect to :{_ALL}
        meta l4proto udp redirect to :{_ALL}
    }}
}}
"""
_OPENER: Final = str(Path(__file__).with_name("opener.py"))
_NFT: Final = 'mount -t cgroup2 none /sys/fs/cgroup; exec nft "$@"'
"""`ip netns exec` mounts a fresh /sys, and nft looks for cgroups nowhere else."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a connection or question arrived, and where its sender meant it to go."""

    place: str
    port: int
    meant: tuple[str, int] | None = None


class Host:
    """The two namespaces, as long as the context lasts."""

    def __init__(self, block: int) -> None:
        """Choose the names; ``block`` tells hosts of one process apart."""
        self.name = namespaces.called(block, "host")
        self.peer = namespaces.called(block, "peer")
        self.nft = Nft(("ip", "netns", "exec", self.name, "sh", "-c", _NFT, "nft"))
        self._openers: dict[str, socket.socket] = {}
        self._stack = ExitStack()
        self._listeners = selectors.DefaultSelector()
        self._port = 10_000

    def __enter__(self) -> Self:
        """Make the namespaces and begin to listen."""
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            asyncio.run(self._make())
            self._listen()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove everything."""
        self._close()

    def place_cgroups(self) -> None:
        """Make the cgroups, and processes in them that open sockets."""
        root = _cgroup_root()
        for name in CGROUPS:
            if name:
                (root / name).mkdir(exist_ok=True)
                self._stack.callback((root / name).rmdir)
        for name in CGROUPS:
            self._opener(name, root)

    def open(
        self, family: int, kind: int = socket.SOCK_STREAM, *, uid: int = 0, cgroup: str = ""
    ) -> socket.socket:
        """Open a socket in the host, with a source port that none had before."""
        if cgroup not in self._openers:
            self._opener(cgroup, _cgroup_root())
        asked = self._openers[cgroup]
        asked.send(struct.pack("III", family, kind, uid))
        _, (descriptor,), _, _ = socket.recv_fds(asked, 1, 1)
        return self._bound(socket.socket(fileno=descriptor))

    def open_at_peer(self, family: int) -> socket.socket:
        """Open a socket at the peer."""
        with namespaces.inside(self.peer):
            return self._bound(socket.socket(family))

    def scope(self, *, peer: bool = False) -> int:
        """Return the index of the interface, which a link-local address needs."""
        with namespaces.inside(self.peer if peer else self.name):
            return socket.if_nametoindex("wire")

    def _bound(self, opened: socket.socket) -> socket.socket:
        opened.settimeout(5)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Never the same twice: the kernel remembers how it translated the last.
        self._port = self._port + 1 if self._port < 60_000 else 10_001
        if self._port in (*CAPTURE, *INBOUND, DNS):
            self._port += 1
        opened.bind(("::" if opened.family == socket.AF_INET6 else "0.0.0.0", self._port))  # noqa: S104 - in a namespace
        return opened

    def _opener(self, cgroup: str, root: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        path = str(root / cgroup) if cgroup else ""
        with theirs, namespaces.inside(self.name):
            process = subprocess.Popen(
                [sys.executable, _OPENER, str(theirs.fileno()), path],
                pass_fds=[theirs.fileno()],
            )
        self._stack.callback(process.wait, 10)
        self._stack.callback(ours.close)
        self._openers[cgroup] = ours

    async def _make(self) -> None:
        await namespaces.remove_leftovers()
        for name in (self.name, self.peer):
            await namespaces.run("ip", "netns", "add", name)
            self._stack.callback(_remove, name)
        await namespaces.ip(
            f"link add wire type veth peer name wire netns {self.peer}",
            "link set lo up",
            f"address add {LAN}/24 dev wire",
            f"address add {LAN6}/64 dev wire nodad",
            f"address add {LINK6}/64 dev wire nodad",
            "link set wire addrgenmode none",
            "link set wire up",
            "route add default via 192.0.2.1",
            "route add ::/0 via 2001:db8::1",
            namespace=self.name,
        )
        await namespaces.ip(
            "link set lo up",
            "address add 192.0.2.1/24 dev wire",
            "address add 2001:db8::1/64 dev wire nodad",
            "address add fe80::1/64 dev wire nodad",
            "link set wire addrgenmode none",
            "link set wire up",
            namespace=self.peer,
        )
        await namespaces.run("ip", "netns", "exec", self.peer, "nft", "-f", "-", text=_PEER_RULES)

    def _listen(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            with namespaces.inside(self.name):
                for place, ports in (("app", APPS), ("proxy", (*CAPTURE, *INBOUND))):
                    for port in ports:
                        self._add(place, family, socket.SOCK_STREAM, port)
                self._add("proxy", family, socket.SOCK_DGRAM, DNS, loopback=True)
                self._add("app", family, socket.SOCK_DGRAM, 53, loopback=True)
            with namespaces.inside(self.peer):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    self._add("peer", family, kind, _ALL)
        stop, stopped = socket.socketpair()
        self._listeners.register(stop, selectors.EVENT_READ, None)
        thread = threading.Thread(target=self._answer)
        thread.start()
        self._stack.callback(stop.close)
        self._stack.callback(thread.join, 10)
        self._stack.callback(stopped.close)

    def _add(
        self, place: str, family: int, kind: int, port: int, *, loopback: bool = False
    ) -> None:
        listener = socket.socket(family, kind)
        self._stack.callback(listener.close)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = {
            (socket.AF_INET, False): "0.0.0.0",  # noqa: S104 - in a namespace
            (socket.AF_INET6, False): "::",
            (socket.AF_INET, True): "127.0.0.1",
            (socket.AF_INET6, True): "::1",
        }[socket.AddressFamily(family), loopback]
        listener.bind((address, port))
        if kind == socket.SOCK_STREAM:
            listener.listen(128)
        self._listeners.register(listener, selectors.EVENT_READ, f"{place} {port}")

    def _answer(self) -> None:
        while True:
            for key, _ in self._listeners.select():
                if key.data is None:
                    self._listeners.close()
                    return
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                if listener.type == socket.SOCK_DGRAM:
                    asked, sender = listener.recvfrom(2048)
                    listener.sendto(_dns_answer(asked, key.data.split()[0]), sender)
                    continue
                accepted, _ = listener.accept()
                with accepted:
                    accepted.sendall(f"{key.data} {_original(accepted)}".encode())

    def _close(self) -> None:
        self._stack.close()


def arrived(opened: socket.socket, address: tuple[str | int, ...]) -> Arrival:
    """Connect, and return where that led."""
    with opened:
        opened.connect(address)
        said = opened.makefile().read().split()
    return Arrival(said[0], int(said[1]), (said[2], int(said[3])) if len(said) > 2 else None)


def answered(opened: socket.socket, address: tuple[str | int, ...], text: bytes) -> str:
    """Send the question, and return who answered it: one of ANSWERS."""
    opened.connect(address)
    opened.send(text)
    told = socket.inet_ntoa(opened.recv(2048)[-4:])
    return next(place for place, each in ANSWERS.items() if each == told)


def question(name: str, kind: int = 1) -> bytes:
    """Write a DNS question (RFC 1035, section 4.1)."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    header = struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, 1)


def _dns_answer(asked: bytes, place: str) -> bytes:
    """Answer a question for an IPv4 address; of any other kind, the name has none."""
    end = asked.index(b"\0", 12) + 5
    found = struct.unpack_from("!H", asked, end - 4)[0] == 1
    header = asked[:2] + struct.pack("!5H", 0x8180, 1, found, 0, 0)
    address = struct.pack("!3HIH", 0xC00C, 1, 1, 30, 4) + socket.inet_aton(ANSWERS[place])
    return header + asked[12:end] + (address if found else b"")


def _original(accepted: socket.socket) -> str:
    if accepted.family == socket.AF_INET:
        level, size = socket.SOL_IP, 16
    else:
        level, size = socket.IPPROTO_IPV6, 28
    try:
        found = accepted.getsockopt(level, _ORIGINAL, size)
    except OSError:
        # Nothing tracks connections where no rule asks for it.
        return ""
    port = struct.unpack_from("!H", found, 2)[0]
    if accepted.family == socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, found[4:8])} {port}"
    return f"{socket.inet_ntop(socket.AF_INET6, found[8:24])} {port}"


def _remove(namespace: str) -> None:
    asyncio.run(namespaces.remove(namespace))


def _cgroup_root() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise AssertionError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")
