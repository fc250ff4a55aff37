"""Telling the service manager how a daemon is: sd_notify(3), and nothing where nobody listens.

Ready is said once, when the daemon does its work; its status is a line for the operator, said
whenever it changes (``systemctl status``).  The watchdog is fed by a task, so only as long as the
event loop turns.
"""

from __future__ import annotations

import faulthandler
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks

logger = logging.getLogger(__name__)

_OFTENER: Final = 3
"""How many times the watchdog is fed before it would bite."""
_PATIENCE: Final = 0.5
"""Seconds that a manager has to make room for a message."""


class Notifier:
    """One daemon's voice to its service manager."""

    def __init__(self, clock: Clock, address: str = "", watchdog: float = 0.0) -> None:
        """Tell nobody yet.

        Args:
            clock: whose time passes between two words.
            address: the manager's Unix datagram socket, abstract if it begins with ``@``; empty
                if there is no manager.
            watchdog: seconds of silence that the manager bears; 0 if it does not listen for any.

        """
        self._clock = clock
        # The kernel's way to write an abstract name.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._status = ""

    def __bool__(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the daemon does its work, for the first time or after :meth:`reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the daemon takes up something new, until it is :meth:`ready` again."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Say how the daemon is, if that is news."""
        if line != self._status:
            self._status = line
            # A line break would begin another field.
            self._send(f"STATUS={' '.join(line.split())}")

    @asynccontextmanager
    async def told(self, name: str) -> AsyncIterator[Tasks]:
        """Feed the watchdog for as long as the block runs; the tasks in it are the block's too.

        Who hangs is ended with SIGABRT, and the log then says where.
        """
        async with Tasks(f"{name}'s service manager") as tasks:
            if self._watchdog:
                faulthandler.enable()
                tasks.spawn("feed the watchdog", self._keep_alive(), forever=True)
            yield tasks

    async def follow(self, describe: Callable[[], str], every: float) -> NoReturn:
        """Say how the daemon is, and again every so many seconds.  Runs forever."""
        while True:
            if self:
                self.status(describe())
            await self._clock.sleep(every)

    async def _keep_alive(self) -> NoReturn:
        while True:
            self._send("WATCHDOG=1")
            await self._clock.sleep(self._watchdog / _OFTENER)

    def _send(self, *fields: str) -> None:
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        try:
            with socket.socket(socket.AF_UNIX, kind) as manager:
                manager.settimeout(_PATIENCE)
                manager.sendto("\n".join(fields).encode(), self._address)
        except OSError as error:
            logger.warning(
                "the service manager cannot be told", extra={"what": fields, "reason": str(error)}
            )
