"""Where everything of an estate listens: ports of this host that nobody else holds.

Between being found free and being listened on, a port can be lost: to a caller, whom the kernel
gives any that is free, or to another process that looks for one.  So ports come from below those
that the kernel gives away, and from a block that this process has claimed for as long as it runs.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
_FIRST: Final = 16_000
_LAST: Final = 30_000
"""Below Kubernetes' node ports and Linux's ``ip_local_port_range``."""
_SIZE: Final = 500
_APART: Final = 2
"""Vault and OpenBao listen on the port after their own, too."""


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of loopback that nobody listens on now.

    None is given twice, unless all blocks are claimed and what is left of ours is used up.

    Raises:
        OSError: no port is left.

    """
    found: list[int] = []
    with _LOCK, ExitStack() as stack:
        while len(found) < count:
            tried = stack.enter_context(socket.socket())
            found.append(_next_free(tried))
    return found


def _next_free(tried: socket.socket) -> int:
    for port in itertools.islice(_PORTS, _LAST - _FIRST):
        try:
            tried.bind((HOST, port))
        except OSError:
            continue
        return port
    raise OSError(f"every port that this process may have, of {_FIRST} to {_LAST}, is in use")


def _ports() -> Iterator[int]:
    ours: list[int] = []
    for first in range(_FIRST, _LAST, _SIZE):
        if _claimed(first):
            block = range(first, first + _SIZE, _APART)
            ours.extend(block)
            yield from block
    if not ours:
        raise OSError(f"every block of ports from {_FIRST} to {_LAST} is claimed: end some estates")
    yield from itertools.cycle(ours)


def _claimed(block: int) -> bool:
    """Claim a block until this process ends, however it does.

    The claim is the lock of a file: the name of a socket would be one of this network alone, and a
    process may enter another.
    """
    file = Path(tempfile.gettempdir(), f"mesh-ports-{block}.lock")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        # Another user's.
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have taken the file away meanwhile.
        is_there = os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        is_there = False
    if not is_there:
        os.close(descriptor)
        return False
    atexit.register(_leave, file, os.getpid())
    return True


def _leave(file: Path, owner: int) -> None:
    if os.getpid() == owner:
        file.unlink(missing_ok=True)


_PORTS: Final = _ports()
_LOCK: Final = threading.Lock()
