"""A network of a test's own: connections made in it can be redirected, and it leaves no trace.

The namespace belongs to a thread.  What the thread opens or starts is inside, and stays inside
whoever uses it afterwards; once the thread, its sockets and its processes are gone, so is the
namespace.  Needs root, and ``ip`` and ``nft``.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET."""
_PATIENCE: Final = 5.0


class Namespace:
    """Runs things inside."""

    def __init__(self, inside: ThreadPoolExecutor) -> None:
        """Take the thread that is inside."""
        self._inside = inside

    def do(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns when it is done inside."""
        return self._inside.submit(action).result()

    def run(self, *command: str, text: str = "") -> None:
        """Run ``command``, with ``text`` as its input."""
        done = self.do(
            lambda: subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    def redirect(self, ports: Sequence[int]) -> None:
        """Redirect what is sent with the mark N to the port N."""
        rules = [f"meta mark {port} meta l4proto tcp redirect to :{port}" for port in ports]
        lines = ["table inet captured {", "chain output {"]
        lines += ["type nat hook output priority -100;", *rules, "}", "}", ""]
        self.run("nft", "-f", "-", text="\n".join(lines))

    def dial(self, address: str, port: int, *, mark: int = 0) -> socket.socket:
        """Connect, captured by whoever captures ``mark``."""

        def connected() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            dialled = socket.socket(family, socket.SOCK_STREAM)
            try:
                dialled.settimeout(_PATIENCE)
                dialled.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                dialled.connect((address, port))
            except BaseException:
                dialled.close()
                raise
            return dialled

        return self.do(connected)

    def listening(self, port: int) -> socket.socket:
        """Return a socket that listens on ``port`` of every address inside."""
        return self.do(
            lambda: socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16
            )
        )


@contextmanager
def namespace(*addresses: str) -> Iterator[Namespace]:
    """Give a network with nothing in it but itself, which has ``addresses``."""
    with ThreadPoolExecutor(1, "namespace") as inside:
        found = Namespace(inside)
        found.do(_enter)
        found.run("ip", "link", "set", "lo", "up")
        for address in addresses:
            optimistic = ["nodad"] if ":" in address else []
            found.run("ip", "address", "add", address, "dev", "lo", *optimistic)
        yield found


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace (it needs root): {os.strerror(error)}")
