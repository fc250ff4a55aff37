"""A daemon's log: one JSON object a line on standard error, or text for people.

Modules log through :mod:`logging` with fields in ``extra``; structlog writes them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import structlog

from mesh.aio import journal

_FIELDS: Final[tuple[Any, ...]] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: str, form: Literal["json", "text"], *, to_journal: bool = False) -> None:
    """Send everything from ``level`` up to standard error, which may be the journal."""
    last: Any = structlog.processors.JSONRenderer()
    if form == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    lines = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_FIELDS,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            last,
        ],
    )
    handler.setFormatter(journal.Prefixed(lines) if to_journal else lines)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
