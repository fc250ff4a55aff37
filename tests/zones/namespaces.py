"""Named network namespaces: entering them, running commands there, and leaving nothing behind.

Needs root, and ``ip``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.traffic.waiting import until

_NETWORK: Final = 0x40000000
"""CLONE_NEWNET."""
_HOME: Final = Path("/run/netns")
_HERE: Final = Path("/proc/thread-self/ns/net")
_OURS: Final = re.compile(r"mesh-(?P<pid>\d+)-\d+-\w+")


def called(block: int, zone: str) -> str:
    """Return the name of a zone's namespace: it tells which process made it."""
    return f"mesh-{os.getpid()}-{block}-{zone}"


def existing() -> list[str]:
    """Return the names of all namespaces made by tests, running or crashed."""
    if not _HOME.exists():
        return []
    return sorted(each.name for each in _HOME.iterdir() if _OURS.fullmatch(each.name))


async def run(*command: str, text: str = "") -> str:
    """Run ``command`` with ``text`` as its input, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(text.encode())
    assert process.returncode == 0, f"{' '.join(command)} (as root?): {errors.decode()}{text}"
    return output.decode()


async def ip(*lines: str, namespace: str = "") -> None:
    """Do what ``lines`` say, each the words after ``ip``, in the namespace."""
    inside = ["-n", namespace] if namespace else []
    await run("ip", *inside, "-batch", "-", text="\n".join(lines))


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread open sockets and devices in the namespace.  Nothing may be awaited here."""
    with _HERE.open() as home, (_HOME / namespace).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def socket_in(namespace: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Open an IPv4 socket that is in the namespace, whoever uses it, for use with asyncio."""
    with inside(namespace):
        opened = socket.socket(socket.AF_INET, kind)
    opened.settimeout(0)
    return opened


async def pids(namespace: str) -> list[int]:
    """Return the processes in the namespace."""
    return [int(each) for each in (await run("ip", "netns", "pids", namespace)).split()]


async def remove(namespace: str) -> None:
    """End what runs in the namespace, and remove it with its devices."""

    async def ended() -> bool | None:
        found = await pids(namespace)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return None if found else True

    await until(f"everything in {namespace} has ended", ended)
    # Connections that nobody answers any more keep it alive unseen for a while: its links, whose
    # other ends are elsewhere, go now.
    veths = json.loads(await run(*f"ip -n {namespace} -json link show type veth".split()) or "[]")
    await ip(*(f"link delete {each['ifname']}" for each in veths), namespace=namespace)
    await run("ip", "netns", "delete", namespace)


async def remove_leftovers() -> None:
    """Remove the namespaces of earlier runs that crashed."""
    for name in existing():
        if not _is_in_use(name):
            await remove(name)


def _is_in_use(name: str) -> bool:
    found = _OURS.fullmatch(name)
    return found is not None and Path("/proc", found["pid"]).exists()


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NETWORK):
        error = ctypes.get_errno()
        raise OSError(error, f"the namespace cannot be entered: {os.strerror(error)}")
