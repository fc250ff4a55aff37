"""Asks Envoy whether it would start from a file, without starting it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Final

from mesh.agent.state import StateDir

_PATIENCE: Final = 30.0


async def refusal(binary: Path, bootstrap: str, state: StateDir) -> str:
    """Return why Envoy would not start from the file ``bootstrap``; empty if it would.

    Raises:
        OSError: it cannot be asked.

    """
    process = await asyncio.create_subprocess_exec(
        str(binary),
        *("--mode", "validate", "--config-path", bootstrap, "--log-level", "error"),
        cwd=state.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip() or f"exit code {process.returncode}"
