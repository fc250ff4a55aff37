"""Child processes of the demo: each with a log file, ended by pid and never by name."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PATIENCE: Final = 10.0
"""Seconds a process gets to leave before it is killed."""
_TAIL: Final = 2_000
"""Bytes of a log that an error quotes."""


class ProcessError(Exception):
    """A part did not start, or ended too early; the message quotes the end of its log."""


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

    async def kill(self) -> None:
        """End it without warning, as a crash would."""
        if self.is_running:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Ask it to leave, and kill it if it does not."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
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
