"""Commands on this machine, for tests of hosts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    command: tuple[str, ...]
    code: int
    output: str
    errors: str


async def finished(*command: str, text: str = "", within: float = 120) -> Finished:
    """Run a command on this machine with ``text`` as its input; return how it ended."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"not done within {within} s: {' '.join(command)}") from None
    assert process.returncode is not None
    return Finished(command, process.returncode, output.decode(), errors.decode())


async def run(*command: str, text: str = "", within: float = 120) -> str:
    """Run a command on this machine, which must succeed; return what it prints."""
    ended = await finished(*command, text=text, within=within)
    assert ended.code == 0, f"{' '.join(command)} (as root?): {ended.errors}{ended.output}"
    return ended.output
