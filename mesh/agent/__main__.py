"""``python -m mesh.agent --settings FILE``: what ``mesh proxy`` turns into."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from mesh.agent import logs
from mesh.agent.errors import (
    AgentError,
    BundleMismatchError,
    ZoneRefusedError,
    ZoneUnreachableError,
)
from mesh.agent.main import run
from mesh.agent.registrars import deregister
from mesh.agent.settings import AgentSettings
from mesh.aio.journal import prefixed
from mesh.aio.tasks import TaskFailedError
from mesh.config import service_manager

logger = logging.getLogger("mesh.agent")

# As for every command of the mesh.
_FAILED: Final = 1
_BAD_INPUT: Final = 2
_NO_SERVER: Final = 3
_FROM_ZONE: Final = (ZoneUnreachableError, ZoneRefusedError, BundleMismatchError)


def main(arguments: list[str]) -> int:
    """Run the agent; return its exit code."""
    match arguments:
        case ["--settings", file]:
            leaves = False
        case ["--settings", file, "--deregister"]:
            leaves = True
        case _:
            sys.stderr.write("usage: python -m mesh.agent --settings FILE (see `mesh proxy`)\n")
            return _BAD_INPUT
    try:
        settings = AgentSettings.load(Path(file))
        logs.configure(settings.log_level, to_journal=service_manager.is_journal())
        if leaves:
            asyncio.run(deregister(settings))
        else:
            asyncio.run(run(settings, manager=service_manager.take()))
    except AgentError as error:
        return _report(error)
    except TaskFailedError as error:
        cause = error.__cause__
        logger.critical("the agent ends; envoy goes on", extra={"reason": str(error)})
        return _report(cause) if isinstance(cause, AgentError) else _FAILED
    return 0


def _report(error: AgentError) -> int:
    text = f"error: {error.message}" + (f"\nremedy: {error.remedy}" if error.remedy else "")
    sys.stderr.write(f"{prefixed(text) if service_manager.is_journal() else text}\n")
    return _NO_SERVER if isinstance(error, _FROM_ZONE) else _BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
