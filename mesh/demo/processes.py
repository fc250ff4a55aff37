"""Child processes of the demo: each with a log file, ended by pid and never by name."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp

from mesh.demo.loopback import HOST

_PATIENCE: Final = 10.0
"""Seconds a process gets to leave before it is killed."""
_TAIL: Final = 2_000
"""Bytes of a log that an error quotes."""


_READY_WITHIN: Final = 30.0
"""Seconds that a part gets to become ready."""
_POLL: Final = 0.02


class ProcessError(Exception):
    """A part did not start, was not ready in time, or ended too early; the message says why."""


@dataclass(slots=True)
class Child:
    """One running part."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def tail(self) -> str:
        """Return the end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            ProcessError: with its exit code and the end of its log.

        """
        if not self.is_running:
            raise ProcessError(
                f"{self.name} ended with code {self.process.returncode}; "
                f"its log {self.log} ends:\n{self.tail()}"
            )

    async def answers(self, url: str) -> None:
        """Wait until a GET of ``url`` is answered with 200.

        Raises:
            ProcessError: that took too long, or the process ended.

        """
        last = "it does not answer"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            for _ in range(round(_READY_WITHIN / _POLL)):
                self.check()
                try:
                    async with session.get(url) as answer:
                        if answer.status == HTTPStatus.OK:
                            return
                        last = (await answer.text()).strip()
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(_POLL)
        raise ProcessError(f"{self.name} was not ready after {_READY_WITHIN:.0f} s: {last}")

    async def listens(self, port: int, address: str = HOST) -> None:
        """Wait until a connection to ``port`` of ``address`` is taken.

        Raises:
            ProcessError: that took too long, or the process ended.

        """
        for _ in range(round(_READY_WITHIN / _POLL)):
            self.check()
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(_POLL)
            else:
                writer.close()
                return
        raise ProcessError(f"{self.name} does not listen on port {port}")

    def freeze(self) -> None:
        """Stop it where it is: it holds what it has, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without warning, as a crash would."""
        if self.is_running:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Ask it to leave, frozen or not, and kill it if it does not."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
                self.thaw()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.process.wait()
        except TimeoutError:
            await self.kill()


async def start(
    name: str, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str]
) -> Child:
    """Start ``command`` with exactly ``environment``; its output goes to the file ``log``."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, env=environment
        )
    return Child(name, process, log)
