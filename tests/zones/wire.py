"""A slow wire between two namespaces: ``python -m tests.zones.wire NAME DEVICE NAME DEVICE``.

It makes a TUN device in each and carries what is sent into one to the other, as late as was
said last: every line of its input is a delay in milliseconds, one way.  It says ``ready`` once the
devices exist, and ends with its input; the devices end with it.  (netem would do it in the
kernel, but not every kernel has that.)
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.zones.namespaces import inside

_ATTACH: Final = 0x400454CA
"""TUNSETIFF."""
_PLAIN: Final = 0x0001 | 0x1000
"""IFF_TUN, IFF_NO_PI: packets of IP and nothing before them."""
_LARGEST: Final = 65_536
_HELD: Final = 20_000
"""Packets on the way in one direction; beyond, they are lost, as on any wire."""
_HANDFUL: Final = 64
_INPUT: Final = 0


@dataclass(slots=True)
class Direction:
    """Packets on their way from one device to the other, with the moment they are due."""

    source: int
    target: int
    packets: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, delay: float) -> None:
        """Take what was sent, a handful at a time."""
        with suppress(BlockingIOError):
            for _ in range(_HANDFUL):
                packet = os.read(self.source, _LARGEST)
                if len(self.packets) < _HELD:
                    self.packets.append((time.monotonic() + delay, packet))

    def deliver(self) -> None:
        """Hand on what is due."""
        while self.packets and self.packets[0][0] <= time.monotonic():
            _, packet = self.packets.popleft()
            # A full queue or a device that is down loses it.
            with suppress(OSError):
                os.write(self.target, packet)


def device(namespace: str, name: str) -> int:
    """Make a TUN device in the namespace and return its descriptor."""
    with inside(namespace):
        opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(opened, _ATTACH, struct.pack("16sH22x", name.encode(), _PLAIN))
    return opened


def carry(one: int, other: int) -> None:
    """Carry packets until the input ends."""
    there, back = Direction(one, other), Direction(other, one)
    delay = 0.0
    while True:
        due = [each.packets[0][0] for each in (there, back) if each.packets]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select([one, other, _INPUT], [], [], wait)
        if _INPUT in readable:
            said = os.read(_INPUT, _LARGEST)
            if not said:
                return
            delay = float(said.split()[-1]) / 1000
        for each in (there, back):
            if each.source in readable:
                each.take(delay)
            each.deliver()


def main() -> None:
    """Make the devices, say so, and carry."""
    one, one_device, other, other_device = sys.argv[1:]
    ends = device(one, one_device), device(other, other_device)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(*ends)


if __name__ == "__main__":
    main()
