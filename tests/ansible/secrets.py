"""Where tokens are seen: in what ansible prints, in journals, on command lines, in files."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_JOIN_TOKEN: Final = r"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"
_EVERY: Final = 0.05


def pattern(known: Collection[str]) -> re.Pattern[bytes]:
    """Return what finds the ``known`` secrets, and any join token."""
    return re.compile("|".join([_JOIN_TOKEN, *map(re.escape, known)]).encode())


def found(secrets: re.Pattern[bytes], text: str) -> list[str]:
    """Return the lines of ``text`` with a secret."""
    return [line for line in text.splitlines() if secrets.search(line.encode())]


@asynccontextmanager
async def command_lines(secrets: re.Pattern[bytes]) -> AsyncIterator[set[str]]:
    """Look, as long as the block runs, at the command lines of all processes, hosts' included.

    Yields the set of those that hold a secret.
    """
    seen: set[str] = set()

    async def look() -> None:
        while True:
            seen.update(line for line in _command_lines() if secrets.search(line.encode()))
            await asyncio.sleep(_EVERY)

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look())
        yield seen
        looking.cancel()


def files(secrets: re.Pattern[bytes], root: Path, leave_out: Collection[str]) -> Iterator[str]:
    """Yield the files below ``root`` that hold a secret, but for directories to leave out."""
    for each in sorted(root.iterdir()):
        if each.is_symlink() or str(each) in leave_out:
            continue
        if each.is_dir():
            yield from files(secrets, each, leave_out)
        elif each.is_file() and secrets.search(each.read_bytes()):
            yield str(each)


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
