"""Where an estate stands: on this host's loopback, or in a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesh.demo.loopback import HOST, free_ports


@dataclass(frozen=True, slots=True)
class Host:
    """Where everything of an estate listens, and what starts it there.

    ``prefix`` stands before every command (``ip netns exec NAME``, say), and ``free_ports`` gives
    so many ports of ``address`` that nobody listens on.  Whoever waits for the parts dials
    ``address`` from outside.
    """

    address: str = HOST
    prefix: tuple[str, ...] = ()
    free_ports: Callable[[int], list[int]] = free_ports

    def at(self, port: int) -> str:
        """Return ``host:port``."""
        return f"{self.address}:{port}"


LOOPBACK: Final = Host()
