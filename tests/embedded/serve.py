"""Runs an embedded registry as a process of its own: ``python -m tests.embedded.serve DIR``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from mesh.embedded.core import Settings
from mesh.embedded.server import EmbeddedRegistry


async def main(directory: str, token: str) -> None:
    """Serve until killed; the first line of output is the URL."""
    settings = Settings(token=token, shortest_session_ttl=0.5)
    registry = EmbeddedRegistry(Path(directory), settings=settings)
    print(await registry.start(), flush=True)  # noqa: T201 - how the parent learns the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > len("ab") else ""))
